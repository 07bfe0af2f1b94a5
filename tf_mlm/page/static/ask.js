// Questions to the page's own server.

export class Problem extends Error {
  constructor({ code, message, hint = "" }) {
    super(message);
    Object.assign(this, { code, hint });
  }
}

/** The answer to a question, or a `Problem` that says what to do. */
export async function ask(path, question, signal) {
  let response, answer;
  try {
    response = await fetch(path, question === undefined ? { signal } : {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(question),
      signal,
    });
    answer = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({
      code: "PAGE",
      message: `The page's own server does not answer (${error.message}).`,
      hint: "Start it again with `tf-mlm page`; this page then goes on by itself.",
    });
  }
  if (answer.error) throw new Problem(answer.error);
  return answer;
}

const TITLES = {
  PAGE: "The page's server is away",
  UNAVAILABLE: "The model server does not answer",
  DEADLINE_EXCEEDED: "The model server took too long",
  INVALID_ARGUMENT: "This cannot be asked",
  NOT_FOUND: "The server does not have this model",
  RESOURCE_EXHAUSTED: "This is too much at once",
  FAILED_PRECONDITION: "The model cannot answer this",
  PERMISSION_DENIED: "The page's server refuses this browser",
  UNAUTHENTICATED: "The model server asks who you are",
  DATA_LOSS: "The answer cannot be read",
};
export const titleOf = (code) => TITLES[code] ?? "Something went wrong";
/** Whether the same question may be answered a little later. */
export const mayPass = (code) => code === "UNAVAILABLE" || code === "PAGE";
