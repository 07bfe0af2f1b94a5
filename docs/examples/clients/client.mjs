// Fills the masks of a text over REST: node client.mjs http://127.0.0.1:8501 "The [MASK] sat."
const [address, text] = process.argv.slice(2);
const reply = await fetch(`${address}/v1/models/mlm:predict`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ signature_name: "serving_default", inputs: { text: [text] } }),
  signal: AbortSignal.timeout(10_000),
});
const answer = await reply.json();
if (!reply.ok) throw new Error(answer.error);
const { tokens, scores, mask_positions } = answer.outputs; // tokens and scores: [text][mask][k], best first
mask_positions[0].forEach((position, mask) => {
  if (position >= 0) console.log(tokens[0][mask][0], scores[0][mask][0]);
});
