// Figures with what a machine reads beside what people read.
import { h } from "../dom.js";
import { decimal, exact, nanos, usd } from "../format/money.js";
import { dateTime, recent } from "../format/time.js";
import { percent } from "../format/numbers.js";

/** An amount, rounded for the eye; exact on pointing, and as the element's value. */
export function money(amount) {
  if (amount === null || amount === undefined) {
    return h("span", { class: "muted", title: "The price is not known" }, "?");
  }
  const all = typeof amount === "bigint" ? amount : nanos(amount);
  return h("data", { value: decimal(all), title: exact(all) }, usd(all));
}

/** A count: `shown` for the eye, all digits on pointing and as the element's value. */
export function quantity(number, shown) {
  return h("data", { value: number, title: shown === String(number) ? null : number }, shown);
}

/** A time, with the day where it was not today. */
export function moment(at) {
  return h("time", { datetime: at, title: dateTime(at), class: "nowrap" }, recent(at));
}

/** What dollars stand on: the share of connections that was metered. */
export function covered(ratio) {
  if (ratio === null || ratio === undefined) {
    return null;
  }
  const title = "Share of the connections to LLM hosts that were metered: the rest is in no figure";
  return h("span", { class: "covered", title }, `${percent(ratio)} metered`);
}
