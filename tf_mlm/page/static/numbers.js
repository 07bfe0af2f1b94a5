// Probabilities and bits as people read them.

export const percent = (p) => p >= 0.1 ? `${(100 * p).toFixed(1)} %` : p >= 0.0001 ? `${(100 * p).toFixed(2)} %` : `${(100 * p).toExponential(1)} %`;
export const bitsText = (bits) => bits.toFixed(2);
export const milliseconds = (seconds) => `${(1000 * seconds).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

// -log2 p: halved odds are a bit more.
export const LEVELS = [
  { below: 1, name: "expected", says: "above 50 %" },
  { below: 3, name: "plausible", says: "above 12 %" },
  { below: 6, name: "unusual", says: "above 1.6 %" },
  { below: 10, name: "surprising", says: "above 0.1 %" },
  { below: Infinity, name: "astonishing", says: "below 0.1 %" },
];
export const levelOf = (bits) => LEVELS.findIndex((level) => bits < level.below);
