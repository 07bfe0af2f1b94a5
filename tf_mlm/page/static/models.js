// The models that the page looks at: how they are doing, again and again, and what they are like.

import { ask } from "./ask.js";
import { byId, h } from "./dom.js";

const CALM = 4000, KEEN = 1000; // milliseconds between looks: while all is well, and while something is not
const STATES = {
  AVAILABLE: "ready", UNREACHABLE: "not reachable", LOADING: "loading", START: "starting",
  UNLOADING: "unloading", END: "stopped", UNKNOWN: "unknown",
};
const KINDS = { directory: "in this process", export: "in this process" };

export class Models {
  /** @param onback is called when something that was away answers again, or is another version */
  constructor(onback) {
    Object.assign(this, { list: [], limits: { text_bytes: 131072 }, onback, facts: new Map(), timer: null });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.look(); });
  }

  /** Looks now, and keeps looking while the page is seen. */
  async look() {
    clearTimeout(this.timer);
    const before = this.list.map(tokenOf);
    let isWell = false;
    try {
      const { models, limits } = await ask("api/models");
      Object.assign(this, { list: models, limits });
      isWell = models.every((model) => model.state === "AVAILABLE");
    } catch (error) {
      this.list = this.list.map((model) => ({ ...model, state: "UNREACHABLE", error: { code: error.code, message: error.message } }));
    }
    const changed = this.list.map((model, index) => tokenOf(model) !== before[index]);
    changed.forEach((has, index) => has && this.facts.delete(index));
    if (changed.some(Boolean)) this.draw();
    if (before.length && changed.some((has, index) => has && this.list[index].state === "AVAILABLE")) this.onback();
    if (!document.hidden) this.timer = setTimeout(() => this.look(), isWell ? CALM : KEEN);
  }

  /** What a model is like: its mask token, its limits. Asked once for each version. */
  async factsOf(index, signal) {
    if (!this.facts.has(index)) {
      const token = tokenOf(this.list[index]);
      const facts = this.list[index]?.facts ?? await ask(`api/facts/${index}`, undefined, signal);
      if (token === tokenOf(this.list[index])) this.facts.set(index, facts);
      return facts;
    }
    return this.facts.get(index);
  }

  draw() {
    byId("models").replaceChildren(...this.list.map((model) => {
      const good = model.state === "AVAILABLE";
      const version = model.versions.find(({ state }) => state === "AVAILABLE")?.version;
      const state = KINDS[model.kind] ?? STATES[model.state] ?? model.state;
      return h("li", { title: model.error?.message }, h("span", {}, h("span", { class: `dot ${good ? "good" : "bad"}`, "aria-hidden": "true" }), h("b", {}, model.label)),
        h("span", {}, version === undefined ? state : `${state}, version ${version}`), h("span", { class: "target" }, model.target));
    }));
  }
}

const tokenOf = (model) => model && `${model.state} ${model.versions.map(({ version, state }) => `${version}${state}`)}`;
