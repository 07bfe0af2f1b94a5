// Elements out of names, properties and children. Text becomes text nodes: nothing is ever read as HTML.

/** An element; `on…` properties are listeners, `data` its dataset, `vars` its custom CSS properties. */
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "data") Object.assign(element.dataset, value);
    else if (key === "vars") for (const [property, set] of Object.entries(value)) element.style.setProperty(property, set);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Lets the browser do what waits: paint, clicks, keys. */
export const breathe = () => (globalThis.scheduler?.yield ? scheduler.yield() : new Promise((done) => setTimeout(done)));

/** Resolves once what has been drawn is on the screen. */
export const painted = () => new Promise((done) => {
  const next = () => { const { port1, port2 } = new MessageChannel(); port1.onmessage = done; port2.postMessage(0); };
  document.hidden ? next() : requestAnimationFrame(next);
});

/** Appends what `draw` makes of items, a few at a time, so that no step holds the page up. */
export async function appendAll(parent, items, draw, { signal, each = 60 } = {}) {
  for (let at = 0; at < items.length; at += each) {
    if (at) await breathe();
    signal?.throwIfAborted();
    parent.append(...items.slice(at, at + each).flatMap((item, index) => draw(item, at + index)));
  }
}

/** One stop of the Tab key for many items; arrows, Home and End go from one to the next. */
export function roving(container, selector) {
  const items = () => [...container.querySelectorAll(selector)];
  container.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    const here = event.target.closest(selector);
    if (step === undefined || !here || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const all = items();
    all[Math.min(Math.max(all.indexOf(here) + step, 0), all.length - 1)].focus();
  });
  container.addEventListener("focusin", (event) => {
    const here = event.target.closest(selector);
    if (!here) return;
    container.querySelector(`${selector}[tabindex="0"]`)?.setAttribute("tabindex", "-1");
    here.setAttribute("tabindex", "0");
  });
}

/** Puts a text on the clipboard; the button says how that went. */
export async function copy(text, button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select it, and press Ctrl C";
  }
  setTimeout(() => { button.textContent = label; }, 1600);
}

/** A table of rows of cells; a cell is text or an element, or an array of these. */
export function table(caption, columns, rows = []) {
  const head = columns.map((column) => h("th", { scope: "col", class: column.number && "number" }, column.name));
  const body = h("tbody");
  const element = h("table", {}, caption && h("caption", {}, caption), h("thead", {}, h("tr", {}, head)), body);
  const row = (cells) => h("tr", {}, cells.map((cell, index) => h("td", { class: columns[index].number && "number" }, cell)));
  body.append(...rows.map(row));
  return { element, body, row };
}
