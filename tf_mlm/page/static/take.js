// The same question, elsewhere: as curl, Python and grpcurl; and what was sent and answered, as it was.

import { byId, copy, h } from "./dom.js";

const LANGUAGES = ["curl", "Python", "grpcurl"];
const REST_PORT = 8501, GRPC_PORT = 8500;
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const literal = (value) => JSON.stringify(value); // a string of JSON is one of Python, too
const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
const hostOf = (address) => address.replace(/:\d+$/, "");

/** Where a model is served, or would be; `notes` say what has been assumed. */
function served(model, wanted) {
  if (model.kind !== "server") {
    const how = model.kind === "export" ? `tf-mlm serve ${model.target}` : `tf-mlm export ${model.target} models/mlm && tf-mlm serve models/mlm`;
    return { address: `127.0.0.1:${wanted === "rest" ? REST_PORT : GRPC_PORT}`, tls: false, notes: [`# once it is served: ${how}`] };
  }
  const tls = model.scheme.endsWith("s");
  const speaks = model.scheme.startsWith("http") ? "rest" : "grpc";
  if (speaks === wanted) return { address: model.address, tls, notes: [] };
  const port = wanted === "rest" ? REST_PORT : GRPC_PORT;
  return {
    address: `${hostOf(model.address)}:${port}`,
    tls,
    notes: [`# ${wanted === "rest" ? "REST" : "gRPC"} is assumed to be on port ${port}: the page itself asks ${model.scheme}://${model.address}`],
  };
}

function curl(model, exchanges) {
  const { address, tls, notes } = served(model, "rest");
  const pinned = model.pinned ? Object.entries(model.pinned).map(([kind, value]) => `/${kind}s/${encodeURIComponent(value)}`)[0] : "";
  const url = `${tls ? "https" : "http"}://${address}/v1/models/${encodeURIComponent(model.name)}${pinned}:predict`;
  return [...notes, ...exchanges.map(({ request }) => `curl -s ${quoted(url)} -d ${quoted(JSON.stringify(request))}`)].join("\n");
}

function grpcurl(model, exchanges) {
  const { address, tls, notes } = served(model, "grpc");
  const pinned = model.pinned?.version ? { version: model.pinned.version } : model.pinned ? { versionLabel: model.pinned.label } : {};
  const commands = exchanges.map(({ request }) => {
    const inputs = Object.fromEntries(Object.entries(request.inputs).map(([alias, value]) => {
      const rows = value.map((row) => [row].flat());
      const sizes = Array.isArray(value[0]) ? [value.length, value[0].length] : [value.length];
      return [alias, {
        dtype: "DT_STRING",
        tensorShape: { dim: sizes.map((size) => ({ size: String(size) })) },
        stringVal: rows.flat().map(base64),
      }];
    }));
    const body = { modelSpec: { name: model.name, signatureName: request.signature_name, ...pinned }, inputs };
    return `grpcurl ${tls ? "" : "-plaintext "}-protoset tf_serving.protoset -d ${quoted(JSON.stringify(body))} \\\n  ${quoted(address)} tensorflow.serving.PredictionService/Predict`;
  });
  return [...notes, "# tf_serving.protoset: five lines of Python, in the manual under “Call it”", ...commands].join("\n");
}

function python(model, exchanges, question) {
  const calls = exchanges.map(({ request }) => {
    const text = literal(request.inputs.text[0]);
    if (request.signature_name.startsWith("tokenize")) return `tokenize(${text})`;
    if (request.signature_name.startsWith("pseudo_log_likelihood")) return `score(${text})`;
    const targets = request.inputs.targets ? `, targets=${literal(request.inputs.targets[0])}` : "";
    return `fill(${text}, top_k=${question.k}${targets})`;
  });
  if (model.kind === "directory" && calls.every((call) => call.startsWith("fill"))) {
    return `import tf_mlm\n\nfill = tf_mlm.FillMask(tf_mlm.load(${literal(model.target)}))\n${calls.map((call) => `print(${call})`).join("\n")}`;
  }
  const pinned = model.pinned ? Object.entries(model.pinned).map(([kind, value]) => `/${kind}s/${encodeURIComponent(value)}`)[0] : "";
  const { address, notes } = model.kind === "server" ? { address: model.address, notes: [] } : served(model, "grpc");
  const target = `${model.kind === "server" ? model.scheme : "grpc"}://${address}/${encodeURIComponent(model.name)}${pinned}`;
  return [...notes, "import tf_mlm", "", `with tf_mlm.Client(${literal(target)}) as client:`, ...calls.map((call) => `    print(client.${call})`)].join("\n");
}

const WRITERS = { curl, Python: python, grpcurl };
let shown = { sides: [], question: {} };
let language = "curl";

function snippet() {
  return shown.sides.map(({ model, exchanges }) => WRITERS[language](model, questionsOf(exchanges), shown.question)).join("\n\n");
}

/** What the page asks on the side, where tokens stand, is no part of the question. */
function questionsOf(exchanges) {
  const own = exchanges.filter(({ request }) => !request.signature_name.startsWith("tokenize"));
  return own.length ? own : exchanges;
}

function drawRaw() {
  const body = byId("raw-body");
  body.replaceChildren();
  for (const { model, exchanges } of shown.sides) {
    for (const { request, response } of exchanges) {
      const name = `${request.signature_name}, ${model.label}`;
      const pre = (what, value) => {
        const text = JSON.stringify(value, null, 1);
        const button = h("button", { type: "button", class: "quiet", onclick: () => copy(text, button) }, `Copy ${what}`);
        return [h("div", { class: "row" }, h("h3", {}, `${what[0].toUpperCase()}${what.slice(1)}: ${name}`), button),
          h("pre", { tabindex: 0, "aria-label": `${what} of ${name}` }, text.length > 200_000 ? `${text.slice(0, 200_000)}\n… (the copy has all of it)` : text)];
      };
      body.append(...pre("request", request), ...pre("response", response));
    }
  }
}

/** Shows how to take away what has been answered: `{model, exchanges}` of each side. */
export function offer(sides, question) {
  shown = { sides, question };
  byId("take").hidden = !sides.length;
  byId("snippet").textContent = snippet();
  if (byId("raw").open) drawRaw();
}

/** Wires the panel; `link` gives the page's address as it stands. */
export function wireTake(link) {
  for (const name of LANGUAGES) {
    const radio = h("input", { type: "radio", name: "language", value: name, checked: name === language });
    radio.addEventListener("change", () => { language = name; byId("snippet").textContent = snippet(); });
    byId("languages").append(h("label", {}, radio, name));
  }
  const command = h("button", { type: "button", class: "quiet", onclick: () => copy(snippet(), command) }, "Copy the command");
  const address = h("button", { type: "button", class: "quiet", onclick: () => copy(link(), address) }, "Copy a link");
  byId("copies").append(command, address);
  byId("raw").addEventListener("toggle", () => { if (byId("raw").open) drawRaw(); });
}
