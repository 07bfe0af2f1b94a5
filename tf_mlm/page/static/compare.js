// Compare: two models, or two texts, side by side, with what differs marked.

import { ask } from "./ask.js";
import { byId, h, roving, table } from "./dom.js";
import { fillTable, nameOf } from "./fills.js";
import { bitsText } from "./numbers.js";
import { figures, heat, legend, measure } from "./surprise.js";
import { wordsOf } from "./text.js";

export const title = "Compare";
export const lead = "Two models, or two texts, side by side: fills where both have masks, else surprise.";
export const button = "Compare";
export const isLive = false;
const MOST_WORDS = 1500, MOST_ROWS = 20;
const MUCH = 2; // bits by which a word must differ to be marked

export async function run(app, signal) {
  const { state } = app, result = byId("result");
  const [factsA, factsB] = await Promise.all([app.facts(state.a.model, signal), app.facts(state.b.model, signal)]);
  const textA = state.a.text;
  // A mask is spelt as each model spells it.
  const textB = state.same ? textA.replaceAll(factsA.mask_token, factsB.mask_token) : state.b.text;
  if (!textA.trim() || !textB.trim()) {
    result.replaceChildren(h("section", { class: "card" }, h("p", {}, "Write both texts above. With a mask in each, their fills are compared; else how surprising they are.")));
    return null;
  }
  const sides = [{ name: "A", model: state.a.model, text: textA }, { name: "B", model: state.b.model, text: textB }];
  const hasMasks = textA.includes(factsA.mask_token) && textB.includes(factsB.mask_token);
  const answers = await (hasMasks ? compareFills(app, sides, signal) : compareSurprise(app, sides, signal));
  return {
    seconds: Math.max(...answers.map((answer) => answer.seconds)), // they are asked at the same time
    sides: answers.map((answer, index) => ({ model: app.models[sides[index].model], exchanges: answer.exchanges })),
  };
}

const heading = (app, { name, model }) => h("h2", {}, app.models.length > 1 ? `${name}: ${app.models[model].label}` : `Text ${name}`);

async function compareFills(app, sides, signal) {
  const targets = app.state.targets.split(",").map((word) => word.trim()).filter(Boolean);
  const answers = await Promise.all(sides.map(({ model, text }) => ask("api/fill", { model, text, top_k: app.state.k, ...(targets.length ? { targets } : {}) }, signal)));
  const cards = sides.map((side, index) => {
    const others = answers[1 - index].masks;
    return h("section", { class: "card", "aria-label": `Fills of ${side.name}` }, heading(app, side), answers[index].masks.map((mask, number) => {
      const ranks = new Map((others[number]?.fills ?? []).map((fill, rank) => [nameOf(fill).toLowerCase(), rank]));
      return fillTable(number, mask.fills, { tags: (fill, rank) => changeOf(rank, ranks.get(nameOf(fill).toLowerCase())) });
    }));
  });
  byId("result").replaceChildren(h("div", { class: "sides" }, cards), h("p", { class: "note" }, "▲ and ▼: so many places higher or lower than on the other side."));
  return answers;
}

function changeOf(rank, other) {
  if (other === undefined) return h("span", { class: "tag" }, "only here");
  if (other === rank) return null;
  return h("span", { class: "tag" }, other > rank ? `▲ ${other - rank}` : `▼ ${rank - other}`);
}

async function compareSurprise(app, sides, signal) {
  const measured = await Promise.all(sides.map(({ model, text }) => measure(app, model, text, signal)));
  const words = sides.map(({ text }, index) => wordBits(text, measured[index].windows));
  const pairs = aligned(words[0], words[1]);
  const cards = [];
  for (const [index, side] of sides.entries()) {
    const partner = new Map(pairs.filter((pair) => pair[index]).map((pair) => [pair[index], pair[1 - index]]));
    const marks = (part, window) => {
      const word = wordAt(words[index], window.start + part.start);
      const other = partner.get(word);
      if (!word) return "";
      if (!other) return "differs";
      const more = word.bits - other.bits;
      return Math.abs(more) < MUCH || part.start + window.start > word.start ? "" : more > 0 ? "up" : "down";
    };
    const paragraph = h("div", { class: "heat", role: "group", "aria-label": `Text ${side.name}, coloured by surprise` });
    for (const [number, window] of measured[index].windows.entries()) {
      paragraph.append(await heat(window, number, measured[index].windows.length, { signal, marks }));
    }
    for (const piece of paragraph.querySelectorAll(".piece")) {
      piece.title = piece.stretch.bits === null ? "not scored" : `${bitsText(piece.stretch.bits)} bits`;
    }
    paragraph.querySelector(".piece")?.setAttribute("tabindex", "0");
    roving(paragraph, ".piece");
    cards.push(h("section", { class: "card", "aria-label": `Surprise of ${side.name}` }, heading(app, side), figures(measured[index].totals), paragraph));
  }
  byId("result").replaceChildren(
    h("p", { class: "note strong", id: "verdict" }, verdict(measured)),
    h("div", { class: "sides" }, cards),
    h("div", { class: "card" }, legend(), h("p", { class: "note" }, `Wavy: only in this text. ▲ and ▼: at least ${MUCH} bits more or less than the same word on the other side.`)),
    totals(measured), wordTable(pairs));
  return measured;
}

function verdict([a, b]) {
  const [one, other] = [a.totals.perCharacter, b.totals.perCharacter];
  const [less, more] = one <= other ? ["A", "B"] : ["B", "A"];
  const figuresOf = `${bitsText(Math.min(one, other))} against ${bitsText(Math.max(one, other))} bits per character`;
  return bitsText(one) === bitsText(other) ? `A and B surprise alike: ${bitsText(one)} bits per character.` : `${less} surprises less than ${more}: ${figuresOf}.`;
}

function totals([a, b]) {
  const columns = [{ name: "Measure" }, { name: "A", number: true }, { name: "B", number: true }, { name: "B − A", number: true }];
  const rows = [["bits in all", "bits"], ["tokens scored", "tokens"], ["bits per token", "perToken"], ["bits per character", "perCharacter"], ["bits per byte", "perByte"]].map(([name, key]) => {
    const write = key === "tokens" ? (value) => value.toLocaleString("en") : bitsText;
    const more = b.totals[key] - a.totals[key];
    return [name, write(a.totals[key]), write(b.totals[key]), `${more > 0 ? "+" : more < 0 ? "−" : ""}${write(Math.abs(more))}`];
  });
  return h("section", { class: "card" }, table("In numbers", columns, rows).element);
}

function wordTable(pairs) {
  const columns = [{ name: "A" }, { name: "Bits", number: true }, { name: "B" }, { name: "Bits", number: true }, { name: "Difference", number: true }];
  const weight = ([a, b]) => Math.abs((a?.bits ?? 0) - (b?.bits ?? 0));
  const rows = [...pairs].sort((one, other) => weight(other) - weight(one)).slice(0, MOST_ROWS).filter((pair) => weight(pair) > 0).map(([a, b]) => {
    const more = (b?.bits ?? 0) - (a?.bits ?? 0);
    return [a?.text ?? "—", a ? bitsText(a.bits) : "", b?.text ?? "—", b ? bitsText(b.bits) : "", `${more > 0 ? "+" : "−"}${bitsText(Math.abs(more))}`];
  });
  return h("section", { class: "card" }, table("Words that differ most", columns, rows).element);
}

/** Words with the bits of the tokens that begin in them. */
function wordBits(text, found) {
  const words = wordsOf(text).map((word) => ({ ...word, bits: 0 }));
  for (const window of found) {
    for (const part of window.parts) {
      const word = wordAt(words, window.start + part.start);
      if (word) word.bits += part.bits ?? 0;
    }
  }
  return words;
}

/** The word at a unit of the text, by halving. */
function wordAt(words, unit) {
  let [low, high] = [0, words.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (words[middle].end <= unit) low = middle + 1; else high = middle;
  }
  return words[low] && words[low].start <= unit ? words[low] : null;
}

/** Pairs of words of both texts in order, `[a, b]`, one of them null where the other text lacks it. */
export function aligned(a, b) {
  const [first, second] = [a, b].map((words) => words.map(({ text }) => text.toLowerCase()));
  if (a.length > MOST_WORDS || b.length > MOST_WORDS) return a.map((word, index) => [word, b[index] ?? null]).concat(b.slice(a.length).map((word) => [null, word]));
  const width = b.length + 1;
  const longest = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      longest[i * width + j] = first[i] === second[j] ? longest[(i + 1) * width + j + 1] + 1
        : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  const pairs = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    if (first[i] === second[j]) pairs.push([a[i++], b[j++]]);
    else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) pairs.push([a[i++], null]);
    else pairs.push([null, b[j++]]);
  }
  return [...pairs, ...a.slice(i).map((word) => [word, null]), ...b.slice(j).map((word) => [null, word])];
}
