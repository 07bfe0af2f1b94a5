// Tokens: what a text is to the model.

import { ask } from "./ask.js";
import { appendAll, byId, h, roving, table } from "./dom.js";
import { count } from "./numbers.js";
import { characters, byteLength, stretches, unitsOfBytes } from "./text.js";

export const title = "Tokens";
export const lead = "Pieces, ids and places of a text, as the model reads it.";
export const button = "Tokenize";
export const isLive = true;
const ROWS = 1000;

export async function run(app, signal) {
  const { text, model } = app.state.a;
  const result = byId("result");
  if (!text) {
    result.replaceChildren(h("section", { class: "card" }, h("p", {}, "Write something above to see its tokens.")));
    return null;
  }
  const answer = await ask("api/tokenize", { model, text }, signal);
  const { tokens } = answer;
  const parts = stretches(text, tokens);
  const strip = h("div", { class: "heat strip", role: "group", "aria-label": "The text; its tokens one by one" });
  const columns = [{ name: "#", number: true }, { name: "Id", number: true }, { name: "Piece" }, { name: "In the text" }, { name: "Bytes", number: true }, { name: "Characters", number: true }];
  const made = table("", columns);
  const place = placesOf(text);
  const drawn = parts.slice(0, ROWS);
  let cursor = 0;
  const more = tokens.ids.length > ROWS ? h("p", { class: "note strong" }, `The first ${ROWS.toLocaleString("en")} are shown; the raw response below has all of them.`) : null;
  result.replaceChildren(
    h("section", { class: "card" }, h("p", { class: "note" }, `${count(tokens.ids.length, "token")}, ${count(characters(text), "character")}, ${count(byteLength(text), "byte")}`), strip),
    more ?? "",
    h("section", { class: "card scroll", tabindex: 0, "aria-label": "Table of tokens" }, made.element));
  await appendAll(strip, drawn, (part, index) => {
    const gap = text.slice(cursor, part.start);
    cursor = part.end;
    const pieces = part.tokens.map((token) => `${tokens.pieces[token]} (${tokens.ids[token]})`).join(", ");
    return [gap, h("span", { class: `piece t${index % 2}`, title: pieces, role: "button", tabindex: index ? -1 : 0, data: { token: part.tokens[0] } }, text.slice(part.start, part.end))];
  }, { signal });
  if (parts.length <= ROWS) strip.append(text.slice(cursor));
  roving(strip, ".piece");
  const rows = tokens.ids.slice(0, ROWS);
  await appendAll(made.body, rows, (id, token) => {
    const [start, end] = [tokens.starts[token], tokens.ends[token]];
    const isPlaced = end > start;
    const row = made.row([String(token), String(id), h("code", {}, tokens.pieces[token]), isPlaced ? place.text(start, end) : h("span", { class: "tag" }, "added"),
      isPlaced ? `${start}–${end}` : "", isPlaced ? place.characters(start, end) : ""]);
    row.id = `token-${token}`;
    return [row];
  }, { signal });
  const mark = (event) => {
    const token = event.target.closest(".piece")?.dataset.token;
    if (token === undefined) return;
    made.body.querySelector("[data-now]")?.removeAttribute("data-now");
    const row = byId(`token-${token}`);
    if (row) { row.dataset.now = ""; row.scrollIntoView({ block: "nearest" }); }
  };
  for (const kind of ["pointerover", "focusin"]) strip.addEventListener(kind, mark);
  return { seconds: answer.seconds, sides: [{ model: app.models[model], exchanges: answer.exchanges }] };
}

/** Bytes of a text as text, and as numbers of code points. */
function placesOf(text) {
  const units = unitsOfBytes(text);
  const points = new Uint32Array(text.length + 1);
  let point = 0;
  for (let unit = 0; unit < text.length; unit += 1) {
    points[unit] = point;
    if (!(text.codePointAt(unit) > 0xffff)) point += 1;
  }
  points[text.length] = point;
  return {
    text: (start, end) => text.slice(units[start], units[end]) || text.slice(units[start], units[start] + 2),
    characters: (start, end) => `${points[units[start]]}–${points[units[end]]}`,
  };
}
