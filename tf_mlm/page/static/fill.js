// Fill: the sentence with its masks filled in; every token of it is a button that masks it.

import { ask } from "./ask.js";
import { byId, copy, h, roving } from "./dom.js";
import { fillTable } from "./fills.js";
import { joined, stretches } from "./text.js";

export const title = "Fill";
export const lead = "Mask any word, and see what the model would write there.";
export const button = "Fill";
export const isLive = true;

// What stood where masks are now, mask by mask, as far as it is known; and the ranks that are filled in.
let originals = [], chosen = [], answered = null;

export const countOf = (text, mask) => mask ? text.split(mask).length - 1 : 0;

/** The text has been changed otherwise than by masking: what stood where is forgotten where it may be wrong. */
export function edited(text, mask) {
  if (countOf(text, mask) !== originals.length) [originals, chosen] = [Array(countOf(text, mask)).fill(null), []];
}

/** A mask in the place of a stretch of the text; the new text. */
export function masked(text, start, end, mask) {
  const before = countOf(text.slice(0, start), mask);
  edited(text, mask);
  originals.splice(before, countOf(text.slice(start, end), mask), text.slice(start, end) || null);
  chosen = [];
  return text.slice(0, start) + mask + text.slice(end);
}

function unmasked(text, start, end, number) {
  const original = originals[number];
  originals.splice(number, 1);
  chosen = [];
  return text.slice(0, start) + original + text.slice(end);
}

export async function run(app, signal) {
  const { state } = app, { text, model } = state.a;
  if (!text.trim()) {
    drawExamples(app, (await app.facts(model, signal)).mask_token);
    return null;
  }
  const facts = await app.facts(model, signal);
  edited(text, facts.mask_token);
  const targets = state.targets.split(",").map((word) => word.trim()).filter(Boolean);
  const answer = text.includes(facts.mask_token)
    ? await ask("api/fill", { model, text, top_k: state.k, ...(targets.length ? { targets } : {}) }, signal)
    : { ...await ask("api/tokenize", { model, text }, signal), masks: [], replaced: {} };
  answered = { answer, text, facts, asked: targets.length || state.k };
  chosen = answer.masks.map((_, number) => chosen[number] ?? 0);
  draw(app);
  return { seconds: answer.seconds, sides: [{ model: app.models[model], exchanges: answer.exchanges }] };
}

function drawExamples(app, mask) {
  const texts = [`The ${mask} sat on the mat.`, `Returns the ${mask} of the list.`, `If the ${mask} is not found, an ${mask} is raised.`];
  byId("result").replaceChildren(h("section", { class: "card" },
    h("p", {}, "Write something above, or begin with one of these:"),
    h("div", { class: "examples" }, texts.map((text) => h("button", {
      type: "button", class: "quiet", onclick: () => app.setText(text),
    }, text)))));
}

/** The text in parts, masks filled in: `{kind, text, start, end, number}`. */
function partsOf({ answer, text, facts }) {
  const { tokens, masks } = answer;
  const parts = [];
  let cursor = 0, written = "";
  const write = (kind, string, more = {}) => {
    written += string;
    parts.push({ kind, text: string, ...more });
  };
  for (const { start, end, tokens: inside } of stretches(text, tokens)) {
    const number = masks.findIndex((mask) => inside.includes(mask.position));
    if (number < 0 || inside.some((token) => facts.special_tokens.includes(tokens.pieces[token])) && inside.length > 1) {
      if (start > cursor) write("gap", text.slice(cursor, start));
      write("piece", text.slice(start, end), { start, end });
    } else {
      const from = end - text.slice(start, end).trimStart().length;
      const fill = masks[number].fills[chosen[number]];
      const [before, insert] = joined(written + text.slice(cursor, from), fill);
      const gap = before.slice(written.length);
      if (gap) write("gap", gap);
      if (insert !== insert.trimStart()) write("gap", " ");
      write("slot", insert.trimStart() || "∅", { start: from, end, number });
    }
    cursor = end;
  }
  if (cursor < text.length) write("gap", text.slice(cursor));
  return parts;
}

function draw(app) {
  const { answer, asked } = answered;
  const { masks, replaced } = answer;
  const result = byId("result");
  const focused = document.activeElement?.closest?.("#sentence .piece, #sentence .slot");
  const index = focused ? [...byId("sentence").querySelectorAll(".piece, .slot")].indexOf(focused) : -1;
  const sentence = h("div", { id: "sentence", class: "sentence", role: "group", "aria-label": masks.length ? "The text with its masks filled in; each token is a button" : "The text; each token is a button that masks it" });
  drawSentence(app, sentence);
  const copyButton = h("button", { type: "button", class: "quiet", onclick: () => copy(filledText(), copyButton) }, "Copy the filled text");
  const hint = masks.length
    ? "Click a word to mask it, a filled-in one to take it back. Choose among the candidates below."
    : "Click a word, or go to it and press Enter: it becomes a mask.";
  const notes = Object.entries(replaced).map(([target, token]) => h("p", { class: "note strong" }, `“${target}” is not one token of this model: its first one, “${token}”, is scored in its place.`));
  if (masks.length && masks[0].fills.length < asked && !Object.keys(replaced).length) {
    notes.push(h("p", { class: "note strong" }, `This model gives ${masks[0].fills.length} fills for a mask, a number fixed when it was exported; ${asked} were asked for.`));
  }
  if (masks.length > 1) notes.push(h("p", { class: "note" }, "Each mask is filled by itself, while the others are still masks to the model."));
  const cards = masks.map((mask, number) => h("section", { class: "card", "aria-label": `Candidates for mask ${number + 1}` },
    fillTable(number, mask.fills, {
      chosen: chosen[number],
      original: originals[number],
      onchoose: (rank) => { chosen[number] = rank; drawSentence(app, sentence); announce(); },
    })));
  result.replaceChildren(
    h("section", { class: "card" }, sentence, h("div", { class: "row" }, h("p", { class: "note" }, hint), masks.length ? copyButton : null)),
    ...notes, h("div", { class: "cards" }, cards));
  result.append(h("p", { id: "announce", class: "unseen", "aria-live": "polite" }));
  if (masks.length) announce();
  if (index >= 0) [...sentence.querySelectorAll(".piece, .slot")][index]?.focus();
}

const filledText = () => partsOf(answered).map((part) => part.text).join("");
const announce = () => { byId("announce").textContent = `Filled in: ${filledText()}`; };

function drawSentence(app, sentence) {
  const press = (element, act) => {
    element.addEventListener("click", act);
    element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); }
    });
    return element;
  };
  const { text, facts } = answered;
  let first = true;
  sentence.replaceChildren(...partsOf(answered).map((part) => {
    if (part.kind === "gap") return part.text;
    const common = { role: "button", tabindex: first ? 0 : -1 };
    first = false;
    if (part.kind === "piece") {
      return press(h("span", { class: "piece", "aria-pressed": "false", ...common }, part.text),
        () => app.setText(masked(text, part.start, part.end, facts.mask_token)));
    }
    const slot = h("span", { class: "slot", "aria-pressed": "true", "aria-label": `${part.text}, mask ${part.number + 1}`, ...common },
      part.text, answered.answer.masks.length > 1 ? h("sup", {}, part.number + 1) : null);
    return press(slot, () => {
      if (originals[part.number]) app.setText(unmasked(text, part.start, part.end, part.number));
      else document.querySelector(`input[name="mask-${part.number}"]:checked`)?.focus();
    });
  }));
  if (!sentence.dataset.roves) { sentence.dataset.roves = "1"; roving(sentence, ".piece, .slot"); }
}
