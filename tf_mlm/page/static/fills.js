// The candidates for a mask, as a table: a word to choose, a bar, a probability.

import { h, table } from "./dom.js";
import { percent } from "./numbers.js";

const COLUMNS = [{ name: "Word" }, { name: "Share" }, { name: "Probability", number: true }];

export const bar = (share) => h("span", { class: "bar", "aria-hidden": "true" }, h("i", { vars: { "--share": `${100 * share}%` } }));

/** How a fill is called: continued words show that they are. */
export const nameOf = (fill) => fill.insert || fill.word.trim() || fill.piece || "(nothing)";

/** Whether a fill is what stood there. */
export const isSaid = (fill, original) => Boolean(original) && nameOf(fill).toLowerCase() === original.trim().toLowerCase();

/**
 * @param number which mask it is, from 0
 * @param options.chosen, options.onchoose: the rank that is filled in, and who is told of another
 * @param options.original what stood there before it was masked
 * @param options.tags fill → a remark, or nothing
 */
export function fillTable(number, fills, { chosen, onchoose, original, tags, name = `Mask ${number + 1}` } = {}) {
  const held = fills.reduce((sum, fill) => sum + fill.score, 0);
  const caption = [`${name} `, h("small", {}, `these hold ${percent(Math.min(held, 1))}`)];
  const rows = fills.map((fill, rank) => {
    const words = [h("span", {}, nameOf(fill)), fill.joins && /[\p{L}\p{N}]/u.test(fill.insert) && h("span", { class: "tag" }, "joined"),
      isSaid(fill, original) && h("span", { class: "tag" }, "was here"), tags?.(fill, rank)].filter(Boolean);
    const cell = onchoose ? h("label", {}, h("input", {
      type: "radio", name: `mask-${number}`, value: rank, checked: rank === chosen, onchange: () => onchoose(rank),
    }), h("span", { class: "names" }, words)) : h("span", { class: "names" }, words);
    return [cell, bar(fill.score), percent(fill.score)];
  });
  const { element } = table(caption, COLUMNS, rows);
  element.classList.add("fills");
  return element;
}
