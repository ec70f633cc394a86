// A word with a tone. The word says it all; the colour is for finding it.
import { h } from "../dom.js";
import { words } from "../format/text.js";

/** `tone` is "good", "warn", "bad", "accent" or "plain". */
export function pill(tone, word, title = null) {
  return h("span", { class: "pill", data: { tone }, title }, word);
}

const OUTCOMES = new Map([
  ["ok", "good"],
  ["refused", "warn"],
  ["rate_limited", "warn"],
  ["client_abort", "warn"],
]);

/** How a call ended. */
export function outcome(call) {
  if (call.outcome === null) {
    return pill("accent", "open");
  }
  const status = call.status === null || call.outcome === "ok" ? "" : `${call.status} `;
  return pill(OUTCOMES.get(call.outcome) ?? "bad", `${status}${words(call.outcome)}`, call.error);
}

/** How far a policy goes. */
export function reach(word) {
  const kind = word.split(":")[0];
  const tones = { enforce: "good", canary: "accent", shadow: "plain", off: "plain" };
  const text = kind === "canary" ? `canary ${word.split(":")[1]}%` : kind;
  return h(
    "span",
    { class: "pill reach", data: { tone: tones[kind] ?? "plain", reach: word } },
    text,
  );
}

/** What a breaker does. */
export function breaker(state) {
  const tones = { closed: "good", open: "bad", "half-open": "warn" };
  return pill(tones[state] ?? "plain", state);
}
