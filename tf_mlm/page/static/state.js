// What the page shows, as a value behind the # of its address; what is behind it, no server is sent.
// A text that can be asked about has at most 128 KiB, a third of what browsers take in an address.

export const VIEWS = ["fill", "surprise", "compare", "tokens"];

export const initial = () => ({
  view: "fill", a: { model: 0, text: "" }, b: { model: 0, text: "" }, same: false, k: 5, targets: "",
});

/** The part of an address behind #. */
export function toHash(state) {
  const parts = new URLSearchParams({ v: state.view });
  const put = (key, value, usual) => { if (value !== usual) parts.set(key, value); };
  put("t", state.a.text, "");
  put("m", String(state.a.model), "0");
  if (state.view === "compare") {
    if (state.same) parts.set("s", "1");
    else put("u", state.b.text, "");
    put("n", String(state.b.model), "0");
  }
  put("k", String(state.k), "5");
  put("w", state.targets, "");
  return `#${parts}`;
}

/** What `toHash` wrote; whatever else an address has is taken for nothing. */
export function fromHash(hash, models) {
  const parts = new URLSearchParams(hash.replace(/^#/, ""));
  const state = initial();
  const number = (key, usual, least, most) => {
    const value = Number(parts.get(key) ?? usual);
    return Number.isInteger(value) && value >= least && value <= most ? value : usual;
  };
  if (VIEWS.includes(parts.get("v"))) state.view = parts.get("v");
  const last = Math.max(models - 1, 0);
  state.a = { model: number("m", 0, 0, last), text: parts.get("t") ?? "" };
  state.same = parts.get("s") === "1" || (models > 1 && !parts.has("u"));
  state.b = { model: number("n", last, 0, last), text: state.same ? state.a.text : parts.get("u") ?? "" };
  state.k = number("k", 5, 1, 50);
  state.targets = parts.get("w") ?? "";
  return state;
}
