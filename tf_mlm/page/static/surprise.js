// Surprise: a text coloured by the bits that each token costs, -log2 p given all the others.

import { ask } from "./ask.js";
import { appendAll, byId, h, roving, table } from "./dom.js";
import { fillTable, isSaid } from "./fills.js";
import { bitsText, LEVELS, levelOf, percent } from "./numbers.js";
import { byteLength, characters, stretches, unitsOfBytes, windows } from "./text.js";

export const title = "Surprise";
export const lead = "How much each token surprises a model that sees all the others, in bits.";
export const button = "Measure";
export const isLive = false;
const OWN_TOKENS = 2; // those that a model puts around a text

/**
 * Measures a text window by window; `onwindow` is given each as soon as it is there.
 * A window is `{start, text, parts, tokens}`; a part has `bits`, the sum over its tokens, or null.
 */
export async function measure(app, model, text, signal, onwindow = () => {}) {
  const facts = await app.facts(model, signal);
  const exchanges = [], found = [];
  let seconds = 0;
  let cut = [{ start: 0, end: text.length }];
  if (facts.length_limit && byteLength(text) > facts.length_limit - OWN_TOKENS) {
    const whole = await ask("api/tokenize", { model, text }, signal);
    seconds += whole.seconds;
    cut = windows(text, whole.tokens, Math.max(facts.length_limit - OWN_TOKENS, 1));
  }
  for (const [number, { start, end }] of cut.entries()) {
    const part = text.slice(start, end);
    const answer = await ask("api/score", { model, text: part }, signal);
    seconds += answer.seconds;
    exchanges.push(...answer.exchanges);
    const window = { start, text: part, tokens: answer.tokens, parts: partsOf(part, answer.tokens) };
    found.push(window);
    await onwindow(window, number, cut.length);
  }
  return { windows: found, totals: totalsOf(text, found), exchanges, seconds };
}

function partsOf(text, tokens) {
  return stretches(text, tokens, (token) => tokens.bits[token] !== null).map((part) => {
    const scored = part.tokens.map((token) => tokens.bits[token]).filter((bits) => bits !== null);
    return { ...part, bits: scored.length ? scored.reduce((sum, bits) => sum + bits, 0) : null };
  });
}

/** Bits per character make models with different tokens comparable. */
export function totalsOf(text, found) {
  const all = found.flatMap((window) => window.tokens.bits).filter((bits) => bits !== null);
  const bits = all.reduce((sum, each) => sum + each, 0);
  return {
    bits,
    tokens: all.length,
    perToken: all.length ? bits / all.length : 0,
    perCharacter: bits / Math.max(characters(text), 1),
    perByte: bits / Math.max(byteLength(text), 1),
  };
}

/** A window, coloured; `marks(part)` may add classes. It is filled a few stretches at a time. */
export async function heat(window, number, windows, { signal, marks = () => "" } = {}) {
  const body = h("span");
  const element = h("div", { class: "window" },
    windows > 1 && h("p", { class: "windowname" }, `Window ${number + 1} of ${windows}: read by itself, as the text is longer than the model's limit`), body);
  let cursor = 0;
  await appendAll(body, window.parts, (part) => {
    const gap = window.text.slice(cursor, part.start);
    cursor = part.end;
    const level = part.bits === null ? 0 : levelOf(part.bits);
    const piece = h("span", { class: `piece l${level} ${marks(part, window)}`, tabindex: -1, role: "button" }, window.text.slice(part.start, part.end));
    piece.stretch = part;
    piece.within = window;
    return gap ? [gap, piece] : [piece];
  }, { signal });
  body.append(window.text.slice(cursor));
  return element;
}

export const legend = () => h("p", { class: "legend" }, "Bits: ", LEVELS.map((level, number) => h("span", { class: `l${number}` },
  `${level.name} ${level.below === Infinity ? "10 and more" : `below ${level.below}`}`)));

export function figures(totals) {
  const pairs = [
    ["bits in all", bitsText(totals.bits)],
    ["bits per token", bitsText(totals.perToken)],
    ["bits per character", bitsText(totals.perCharacter)],
    ["tokens scored", totals.tokens.toLocaleString("en")],
  ];
  return h("dl", { class: "figures" }, pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

export async function run(app, signal) {
  const { text, model } = app.state.a;
  const result = byId("result");
  if (!text.trim()) {
    result.replaceChildren(h("section", { class: "card" }, h("p", {}, "Write or paste a paragraph above, and measure it.")));
    return null;
  }
  const paragraph = h("div", { class: "heat", role: "group", "aria-label": "The text, coloured by surprise; go through its tokens with the arrow keys" });
  const inspector = h("aside", { class: "card inspector", "aria-label": "The token in question" }, h("p", { class: "muted" }, "Point at a token, or go to it with the arrow keys: how likely it was, and what the model expected there."));
  const head = h("div");
  const rows = h("div");
  let begun = false;
  const measured = await measure(app, model, text, signal, async (window, number, of) => {
    if (!begun) {
      begun = true;
      result.replaceChildren(h("section", { class: "card" }, head, legend()),
        h("div", { class: "look" }, h("section", { class: "card", "aria-label": "Coloured text" }, paragraph), inspector), rows);
      wire(app, paragraph, inspector, model);
    }
    paragraph.append(await heat(window, number, of, { signal }));
    if (number + 1 < of) app.progress(`${number + 1} of ${of} windows`);
  });
  paragraph.querySelector(".piece")?.setAttribute("tabindex", "0");
  head.replaceChildren(figures(measured.totals));
  rows.append(asTable(measured.windows));
  return { seconds: measured.seconds, sides: [{ model: app.models[model], exchanges: measured.exchanges }] };
}

/** The same numbers as a table, made when it is opened. */
function asTable(found) {
  const body = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Surprise token by token" });
  const details = h("details", { class: "card" }, h("summary", {}, "The same as a table"), body);
  details.addEventListener("toggle", async () => {
    if (!details.open || body.firstChild) return;
    const columns = [{ name: "Token" }, { name: "In the text" }, { name: "Bits", number: true }, { name: "Probability", number: true }, { name: "That is" }];
    const { element, body: rows, row } = table("", columns);
    body.append(element);
    const cells = found.flatMap((window) => window.parts.flatMap((part) => part.tokens.map((token) => ({ window, part, token }))));
    await appendAll(rows, cells, ({ window, part, token }) => {
      const bits = window.tokens.bits[token];
      const scored = bits === null ? ["", "", "not scored"] : [bitsText(bits), percent(2 ** -bits), LEVELS[levelOf(bits)].name];
      return [row([h("code", {}, window.tokens.pieces[token]), window.text.slice(part.start, part.end), ...scored])];
    });
  });
  return details;
}

/** Shows the token that is pointed at or has the focus, and asks what the model expected there. */
function wire(app, paragraph, inspector, model) {
  roving(paragraph, ".piece");
  let now = null, timer, controller;
  const look = (piece) => {
    if (!piece || piece === now) return;
    now?.removeAttribute("data-now");
    now = piece;
    piece.dataset.now = "";
    clearTimeout(timer);
    controller?.abort();
    controller = new AbortController();
    drawToken(inspector, piece);
    timer = setTimeout(() => expected(app, inspector, piece, model, controller.signal), 120);
  };
  paragraph.addEventListener("pointerover", (event) => look(event.target.closest(".piece")));
  paragraph.addEventListener("focusin", (event) => look(event.target.closest(".piece")));
}

function drawToken(inspector, { stretch: part, within: window }) {
  const said = window.text.slice(part.start, part.end);
  const lines = part.tokens.map((token) => {
    const bits = window.tokens.bits[token];
    return h("p", { class: "muted" }, h("code", {}, window.tokens.pieces[token]), bits === null ? " is not scored"
      : ` ${bitsText(bits)} bits, ${percent(2 ** -bits)}: ${LEVELS[levelOf(bits)].name}`);
  });
  inspector.replaceChildren(h("h2", {}, said), ...lines, h("p", { class: "note", id: "expected" }, part.bits === null ? "" : "Asking what was expected …"));
}

const known = new WeakMap();

async function expected(app, inspector, piece, model, signal) {
  const { stretch: part, within: window } = piece;
  if (part.bits === null) return;
  try {
    if (!known.has(part)) known.set(part, await candidates(app, piece, model, signal));
    if (signal.aborted) return;
    const { fills, note } = known.get(part);
    const act = h("button", { type: "button", class: "quiet", onclick: () => app.mask(window.start + part.start, window.start + part.end) }, "Mask it in Fill");
    inspector.querySelector("#expected")?.replaceWith(fillTable(0, fills, { original: window.text.slice(part.start, part.end), name: "Expected here:" }), note ? h("p", { class: "note" }, note) : "", act);
  } catch (error) {
    if (error.name !== "AbortError") inspector.querySelector("#expected").textContent = `${error.message} ${error.hint ?? ""}`;
  }
}

/** Fills for the stretch, masked in its window. */
async function candidates(app, { stretch: part, within: window }, model, signal) {
  const { mask_token: mask } = await app.facts(model, signal);
  const text = window.text.slice(0, part.start) + mask + window.text.slice(part.end);
  const answer = await ask("api/fill", { model, text, top_k: 6 }, signal);
  const place = unitOfMask(answer, text, part.start);
  const others = answer.tokens.pieces.length - 1 !== window.tokens.pieces.length - part.tokens.length;
  const { fills } = answer.masks[place];
  const said = window.text.slice(part.start, part.end);
  if (part.tokens.length === 1 && !fills.some((fill) => isSaid(fill, said))) {
    fills.push({ insert: said, word: said, piece: window.tokens.pieces[part.tokens[0]], score: 2 ** -part.bits, joins: false });
  }
  return {
    fills,
    note: others ? "Without this piece the rest of its word is read as other tokens, so this is not quite the question that was scored." : null,
  };
}

/** Which mask it is, where the text has masks of its own. */
function unitOfMask(answer, text, start) {
  const units = unitsOfBytes(text);
  const place = answer.masks.findIndex(({ position }) => units[answer.tokens.ends[position]] > start);
  return Math.max(place, 0);
}
