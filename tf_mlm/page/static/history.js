// What was asked on this machine, kept by the browser.

import { byId, h } from "./dom.js";

const KEY = "tf-mlm:history";
const MOST = 60;

function kept() {
  try {
    const entries = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(entries) ? entries.filter((entry) => typeof entry?.hash === "string") : [];
  } catch {
    return [];
  }
}

/** Keeps the newest of them that the browser has room for; none where it allows none. */
function keep(entries) {
  try { localStorage.setItem(KEY, JSON.stringify(entries)); } catch { if (entries.length > 1) keep(entries.slice(0, entries.length / 2)); }
}

/** Puts a question on top; the same question stands there once. */
export function remember(view, text, hash) {
  const others = kept().filter((entry) => entry.hash !== hash);
  keep([{ view, text: text.slice(0, 200), hash, when: Date.now() }, ...others].slice(0, MOST));
}

/** Wires the dialog. */
export function wireHistory() {
  const dialog = byId("history"), list = byId("history-list");
  const draw = () => {
    const entries = kept();
    list.replaceChildren(...entries.map((entry) => h("li", {}, h("button", {
      type: "button",
      onclick: () => { dialog.close(); location.hash = entry.hash; },
    }, h("span", { class: "text" }, entry.text || "(no text)"), h("small", {}, `${entry.view}, ${new Date(entry.when).toLocaleString()}`)))));
    if (!entries.length) list.append(h("li", { class: "muted" }, "Nothing yet."));
  };
  const open = () => { draw(); if (!dialog.open) dialog.showModal(); };
  byId("history-open").addEventListener("click", open);
  byId("history-close").addEventListener("click", () => dialog.close());
  byId("history-clear").addEventListener("click", () => { keep([]); draw(); });
  return open;
}
