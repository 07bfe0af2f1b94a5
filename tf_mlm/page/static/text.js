// Where tokens stand in a text: models count UTF-8 bytes, the browser counts UTF-16 units, people see characters.

const encoder = new TextEncoder();
const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });
const PLAIN = /^[\n\x20-\x7e]*$/;

export const byteLength = (text) => encoder.encode(text).length;
export const characters = (text) => { let count = 0; for (const _ of text) count += 1; return count; };

/** Byte → UTF-16 unit at which the character with that byte begins; the last entry is the end of the text. */
export function unitsOfBytes(text) {
  const units = new Uint32Array(byteLength(text) + 1);
  let byte = 0;
  for (let unit = 0; unit < text.length;) {
    const point = text.codePointAt(unit);
    const size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    units.fill(unit, byte, byte + size);
    byte += size;
    unit += point > 0xffff ? 2 : 1;
  }
  units[byte] = text.length;
  return units;
}

/** Unit → beginning of the character, as people see it, that it is part of; the last entry is the end. */
function characterStarts(text) {
  const starts = new Uint32Array(text.length + 1);
  if (PLAIN.test(text)) for (let unit = 0; unit < text.length; unit += 1) starts[unit] = unit;
  else for (const { index, segment } of graphemes.segment(text)) starts.fill(index, index, index + segment.length);
  starts[text.length] = text.length;
  return starts;
}

/**
 * Stretches of a text with the tokens that stand there: `{start, end, tokens}`, in order, without overlap.
 * No stretch begins or ends inside a character: tokens that share one (bytes of an emoji, a letter and its
 * accent) share a stretch. Tokens that stand nowhere, as [CLS] does, are left out unless they `count`.
 */
export function stretches(text, { starts, ends }, counts = () => false) {
  const units = unitsOfBytes(text), begins = characterStarts(text);
  const found = [];
  let waiting = [];
  for (let token = 0; token < starts.length; token += 1) {
    if (starts[token] >= ends[token]) {
      if (counts(token)) waiting.push(token);
      continue;
    }
    const start = begins[units[starts[token]]];
    let end = units[ends[token]];
    while (end < text.length && begins[end] !== end || end <= units[ends[token] - 1]) end += 1;
    const last = found.at(-1);
    if (last && start < last.end) {
      last.end = Math.max(last.end, end);
      last.tokens.push(...waiting, token);
    } else found.push({ start, end, tokens: [...waiting, token] });
    waiting = [];
  }
  if (waiting.length && found.length) found.at(-1).tokens.push(...waiting);
  return found;
}

const sentences = new Intl.Segmenter(undefined, { granularity: "sentence" });

/** Cuts a text into windows `{start, end}` of at most `room` tokens, at ends of sentences, else of words. */
export function windows(text, tokens, room) {
  const parts = stretches(text, tokens);
  const total = parts.reduce((sum, part) => sum + part.tokens.length, 0);
  if (total <= room) return [{ start: 0, end: text.length }];
  const begins = [...sentences.segment(text)].map(({ index }) => index);
  const found = [];
  let start = 0, held = 0, next = 0, behind = 0;
  let sentence = null, word = null; // where the window may end, and the tokens it would then hold
  for (const part of parts) {
    let first = false;
    for (; next < begins.length && begins[next] <= part.start; next += 1) first = true;
    if (held && first) sentence = { at: part.start, held };
    if (held && part.start > behind) word = { at: part.start, held };
    if (held && held + part.tokens.length > room) {
      const end = sentence ?? word ?? { at: part.start, held };
      found.push({ start, end: end.at });
      [start, held] = [end.at, held - end.held];
      word = word && word.at > start ? { at: word.at, held: word.held - end.held } : null;
      sentence = null;
    }
    held += part.tokens.length;
    behind = part.end;
  }
  found.push({ start, end: text.length });
  return found;
}

const words = new Intl.Segmenter(undefined, { granularity: "word" });

/** Words and signs of a text, `{start, end, text}`, without the blanks. */
export function wordsOf(text) {
  const found = [];
  for (const { index, segment } of words.segment(text)) {
    if (segment.trim()) found.push({ start: index, end: index + segment.length, text: segment });
  }
  return found;
}

const WITH_BLANKS = /[\p{L}\p{N}]$/u;
const WITHOUT_BLANKS = /[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Thai}\p{scx=Lao}\p{scx=Khmer}\p{scx=Myanmar}]$/u;

/** What stands before a fill, and the fill: joined to a word, or set off from it where the script has blanks. */
export function joined(before, fill) {
  if (fill.joins) return [before.replace(/[^\S\n]+$/, ""), fill.insert];
  const tight = WITH_BLANKS.test(before) && !WITHOUT_BLANKS.test(before);
  return [before, tight ? ` ${fill.insert}` : fill.insert];
}
