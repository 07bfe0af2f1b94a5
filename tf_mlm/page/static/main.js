// The page: what is written, what is asked, what has been answered.

import { mayPass, titleOf } from "./ask.js";
import * as compare from "./compare.js";
import { byId, h, painted } from "./dom.js";
import * as fill from "./fill.js";
import { remember, wireHistory } from "./history.js";
import { Models } from "./models.js";
import { count, milliseconds } from "./numbers.js";
import { fromHash, initial, toHash, VIEWS } from "./state.js";
import * as surprise from "./surprise.js";
import { offer, wireTake } from "./take.js";
import { byteLength } from "./text.js";
import * as tokens from "./tokens.js";

const views = { fill, surprise, compare, tokens };
const LIVE_BYTES = 4000; // longer texts are asked about when told to, not while they are written
const PAUSE = 220; // milliseconds without a key, until what has been written is asked about
const SLOW = 200; // milliseconds until it is said that an answer is waited for

let state = initial();
let controller = null, typing = 0, failed = null, isShown = false;
const models = new Models(() => { if (failed) run(); });
const app = {
  get state() { return state; },
  get models() { return models.list; },
  facts: (index, signal) => models.factsOf(index, signal),
  setText: (text) => { state.a.text = text; byId("text-a").value = text; sizes(); run({ push: true }); },
  progress: (text) => { byId("progress") && (byId("progress").textContent = ` ${text}`); },
  mask: async (start, end) => {
    const { mask_token: mask } = await app.facts(state.a.model);
    go("fill", fill.masked(state.a.text, start, end, mask));
  },
};

// ---- the form and the state -----------------------------------------------------------------------

/** Writes the state into the form. */
function show() {
  const view = views[state.view];
  const isTwo = state.view === "compare";
  document.title = `${view.title} · ${models.list[state.a.model]?.label ?? "tf-mlm"}`;
  byId("title").textContent = view.title;
  byId("lead").textContent = view.lead;
  byId("ask-label").textContent = view.button;
  for (const link of byId("views").children) {
    link.toggleAttribute("aria-current", link.dataset.view === state.view);
    if (link.dataset.view === state.view) link.setAttribute("aria-current", "page");
  }
  for (const option of document.querySelectorAll("[data-for]")) option.hidden = !option.dataset.for.split(" ").includes(state.view);
  byId("label-a").textContent = isTwo && !state.same ? "Text A" : "Text";
  byId("of-a").textContent = isTwo ? "A" : "Model";
  for (const side of ["a", "b"]) {
    const field = byId(`text-${side}`);
    if (field.value !== state[side].text) field.value = state[side].text;
    byId(`model-${side}`).replaceChildren(...models.list.map(({ label, target }, index) => h("option", { value: index, selected: index === state[side].model }, models.list.filter((other) => other.label === label).length > 1 ? target : label)));
    byId(`choose-${side}`).hidden = models.list.length < 2;
  }
  byId("side-b").hidden = !isTwo || (state.same && models.list.length < 2);
  byId("text-b").hidden = byId("size-b").hidden = byId("label-b").hidden = state.same;
  byId("same").checked = state.same;
  byId("top-k").value = state.k;
  byId("targets").value = state.targets;
  sizes();
}

/** Reads the form into the state. */
function read() {
  for (const side of ["a", "b"]) {
    state[side].text = byId(`text-${side}`).value.toWellFormed?.() ?? byId(`text-${side}`).value;
    state[side].model = Number(byId(`model-${side}`).value || 0);
  }
  state.same = byId("same").checked;
  if (state.same) state.b.text = state.a.text;
  const k = Math.round(Number(byId("top-k").value));
  state.k = Math.min(Math.max(k || 5, 1), models.limits.fills ?? 50);
  state.targets = byId("targets").value;
}

/** Says how long the texts are; false where one is too long to be asked about. */
function sizes() {
  const most = models.limits.text_bytes;
  let fits = true;
  for (const side of state.view === "compare" && !state.same ? ["a", "b"] : ["a"]) {
    const text = byId(`text-${side}`).value, bytes = text.length > most ? text.length : byteLength(text);
    const note = byId(`size-${side}`), isOver = bytes > most;
    note.textContent = isOver ? `${count(bytes, "byte")}${text.length > most ? " or more" : ""}: too long, at most ${most.toLocaleString("en")} can be asked about at once` : bytes ? count(bytes, "byte") : "";
    note.classList.toggle("over", isOver);
    fits &&= !isOver;
  }
  return fits;
}

function address(push) {
  const hash = toHash(state);
  if (hash !== location.hash) history[push ? "pushState" : "replaceState"](null, "", hash);
  for (const link of byId("views").children) link.href = toHash({ ...state, view: link.dataset.view });
  return hash;
}

function go(view, text = null) {
  read();
  state.view = view;
  if (text !== null) state.a.text = text;
  byId("result").replaceChildren();
  offer([], state);
  show();
  run({ push: true });
}

function load() {
  state = fromHash(location.hash, models.list.length);
  isShown = false;
  byId("result").replaceChildren();
  show();
  run();
}

// ---- asking ---------------------------------------------------------------------------------------

async function run({ push = false, explicit = false } = {}) {
  clearTimeout(typing);
  controller?.abort();
  const mine = controller = new AbortController();
  read();
  if (!sizes()) {
    settle();
    return problem({ code: "RESOURCE_EXHAUSTED", message: byId("size-a").classList.contains("over") ? byId("size-a").textContent : byId("size-b").textContent, hint: "Shorten the text, or ask about a part of it." });
  }
  const hash = address(push), { view, a: { text } } = state;
  const begun = performance.now();
  const slow = setTimeout(() => wait(begun), isShown ? SLOW : 0);
  byId("result").classList.add("stale");
  try {
    const outcome = await views[view].run(app, mine.signal);
    if (mine !== controller) return;
    failed = null;
    byId("problem").hidden = true;
    settle(slow);
    offer(outcome?.sides ?? [], state);
    if (outcome) {
      await painted();
      const end = performance.now();
      byId("latency").textContent = `model ${milliseconds(outcome.seconds)} · on screen after ${milliseconds((end - begun) / 1000)}`;
      performance.measure("tf-mlm", { start: begun, end, detail: { seconds: outcome.seconds, view } });
      if (push || explicit) remember(view, text, hash);
    } else byId("latency").textContent = "";
    isShown = true;
  } catch (error) {
    if (mine !== controller) return;
    settle(slow);
    if (error.name === "AbortError") return;
    if (!error.code) console.error(error);
    failed = mayPass(error.code) ? error : null;
    problem({ code: error.code ?? "INTERNAL", message: error.message, hint: error.hint });
    if (failed) models.look();
  }
}

/** Says that an answer is waited for, and for how long. */
function wait(begun) {
  const label = models.list[state.a.model]?.label ?? "the model";
  const clock = h("span", { "aria-hidden": "true" });
  byId("waiting").replaceChildren(`Asking ${label} `, h("span", { id: "progress" }), clock);
  byId("stop").hidden = false;
  const tick = () => {
    if (!clock.isConnected) return;
    clock.textContent = ` ${((performance.now() - begun) / 1000).toFixed(1)} s`;
    setTimeout(tick, 100);
  };
  tick();
}

function settle(slow) {
  clearTimeout(slow);
  byId("waiting").replaceChildren();
  byId("stop").hidden = true;
  byId("result").classList.remove("stale");
}

function problem({ code, message, hint }) {
  const again = failed ? h("p", {}, "It is asked again by itself, as soon as that is back.") : null;
  byId("problem").hidden = false;
  byId("problem").replaceChildren(h("h2", {}, titleOf(code)), h("blockquote", {}, message), hint ? h("p", {}, hint) : "", again ?? "",
    h("p", { class: "note" }, h("code", {}, code)), h("button", { type: "button", class: "quiet", onclick: () => run({ explicit: true }) }, "Try again"));
  byId("result").replaceChildren();
  offer([], state);
}

function stop() {
  if (byId("stop").hidden) return;
  controller?.abort();
  controller = null;
  settle();
  byId("latency").textContent = "stopped: the model may still be at work on it";
}

// ---- mouse and keyboard ---------------------------------------------------------------------------

/** Puts a mask at the cursor of the text, or in the place of what is selected. */
async function addMask() {
  const field = document.activeElement === byId("text-b") ? byId("text-b") : byId("text-a");
  const facts = await app.facts(field.id === "text-b" ? state.b.model : state.a.model).catch(() => null);
  if (!facts) return run();
  const { selectionStart: start, selectionEnd: end } = field;
  const text = field.id === "text-a" ? fill.masked(field.value, start, end, facts.mask_token) : field.value.slice(0, start) + facts.mask_token + field.value.slice(end);
  field.value = text;
  field.focus();
  field.setSelectionRange(start + facts.mask_token.length, start + facts.mask_token.length);
  changed();
}

function changed() {
  sizes();
  clearTimeout(typing);
  const view = views[state.view];
  if (view.isLive && byId("text-a").value.length <= LIVE_BYTES) typing = setTimeout(run, PAUSE);
}

const openHistory = wireHistory();
wireTake(() => location.href);
byId("composer").addEventListener("submit", (event) => { event.preventDefault(); run({ push: true, explicit: true }); });
for (const side of ["a", "b"]) {
  byId(`text-${side}`).addEventListener("input", changed);
  byId(`model-${side}`).addEventListener("change", () => run());
}
byId("same").addEventListener("change", () => { read(); show(); run(); });
for (const id of ["top-k", "targets"]) byId(id).addEventListener("change", () => run());
byId("views").addEventListener("click", (event) => {
  const view = event.target.dataset.view;
  if (!view || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(view);
});
byId("add-mask").addEventListener("click", addMask);
byId("stop").addEventListener("click", stop);
byId("skip").addEventListener("click", () => byId("text-a").focus());
addEventListener("popstate", load);
addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const view = /^Digit[1-4]$/.test(event.code) ? VIEWS[event.code.at(-1) - 1] : null;
  const act = event.key === "Escape" ? stop
    : (event.ctrlKey || event.metaKey) && event.key === "Enter" ? () => run({ push: true, explicit: true })
      : !event.altKey || event.ctrlKey || event.metaKey ? null
        : view ? () => go(view) : event.code === "KeyM" ? addMask : event.code === "KeyR" ? openHistory : null;
  if (!act) return;
  if (event.key !== "Escape") event.preventDefault();
  act();
});

await models.look();
load();
