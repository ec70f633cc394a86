// One key figure: what it is now, what it was in the span before, and which way it went.
import { h } from "../dom.js";
import { float, nanos, usd } from "../format/money.js";
import { count, fine, milliseconds, short } from "../format/numbers.js";
import { icon } from "./icon.js";
import { sparkline } from "./sparkline.js";
import { money, quantity } from "./value.js";

const plain = { show: short, read: Number, node: (value) => quantity(value, short(value)) };
const whole = { show: count, read: Number, node: (value) => quantity(value, count(value)) };
const rate = {
  show: fine,
  read: Number,
  points: true,
  node: (value) => quantity(value, fine(value)),
};
const span = {
  show: milliseconds,
  read: Number,
  node: (value) => quantity(value, milliseconds(value)),
};
const dollars = {
  show: (value) => usd(nanos(value)),
  read: (value) => float(nanos(value)),
  node: money,
};

/** The eight figures, in the order they stand; `better` says which way is good. */
export const KPIS = [
  { key: "total_requests", title: "Requests", kind: plain, help: "Calls to LLM providers" },
  {
    key: "success_rate",
    title: "Success rate",
    kind: rate,
    better: "up",
    help: "Share of calls that were answered well",
  },
  {
    key: "average_response_ms",
    title: "Average response",
    kind: span,
    better: "down",
    help: "From a request's head to the last byte of its answer, refused calls aside",
  },
  { key: "total_tokens", title: "Tokens", kind: plain, help: "Sent and received, cached ones too" },
  {
    key: "cost_savings_usd",
    title: "Cost savings",
    kind: dollars,
    better: "up",
    help: "What calls that a policy took to another model would have cost at the one they asked for, less what they cost",
  },
  {
    key: "guardrails_enforced",
    title: "Guardrails enforced",
    kind: whole,
    help: "Times a policy refused, delayed, downgraded or cut a call, or froze its workload",
  },
  {
    key: "escalation_rate",
    title: "Escalation rate",
    kind: rate,
    better: "down",
    help: "Share of calls that failed for good; the aim is below 5%",
  },
  {
    key: "unique_users",
    title: "Users",
    kind: whole,
    help: "Users of this host whose processes made calls",
  },
];

/** A figure's card. `entry` is as the API has it: `{ value, previous, trend }`. */
export function kpi(about, entry, days) {
  const { kind, title, help, key } = about;
  const points = entry.trend.map(({ value }) => (value === null ? null : kind.read(value)));
  const known = points.filter((value) => value !== null);
  return h(
    "section",
    { class: "card kpi", data: { kpi: key }, "aria-label": title },
    h("h3", { title: help }, title),
    h(
      "p",
      { class: "kpi-value" },
      entry.value === null ? h("span", { class: "muted" }, "–") : kind.node(entry.value),
    ),
    change(about, entry, days),
    known.length > 0
      ? sparkline(points, trend(about, entry))
      : h("p", { class: "kpi-none muted small" }, "No calls in this span"),
  );
}

function change({ kind, better }, { value, previous }, days) {
  const before = `the ${days} days before`;
  if (value === null || previous === null) {
    return h("p", { class: "change", data: { tone: "plain" } }, `nothing in ${before}`);
  }
  const [now, then] = [kind.read(value), kind.read(previous)];
  const direction = now > then ? "up" : now < then ? "down" : "flat";
  const tone = direction === "flat" || !better ? "plain" : direction === better ? "good" : "bad";
  return h(
    "p",
    { class: "change", data: { tone }, title: `${kind.show(previous)} in ${before}` },
    icon(direction),
    h("span", { class: "unseen" }, { up: "up by ", down: "down by ", flat: "" }[direction]),
    h("b", null, difference(kind, now, then)),
    h("span", { class: "muted" }, ` vs. ${kind.show(previous)} before`),
  );
}

function difference(kind, now, then) {
  if (now === then) {
    return "no change";
  }
  if (kind.points) {
    const points = Math.abs(now - then) * 100;
    return points < 0.1 ? "<0.1 pt" : `${points.toFixed(1)} pt`;
  }
  if (then === 0) {
    return "new";
  }
  const percent = (Math.abs(now - then) / Math.abs(then)) * 100;
  if (percent >= 1000) {
    return `${count(Math.round(now / then))}×`;
  }
  return percent < 1 ? "<1%" : `${percent.toFixed(0)}%`;
}

function trend({ title, kind }, entry) {
  const known = entry.trend.filter(({ value }) => value !== null);
  const byRead = (a, b) => kind.read(a.value) - kind.read(b.value);
  const sorted = [...known].sort(byRead);
  const show = ({ value }) => kind.show(value);
  return `${title} by day: lowest ${show(sorted[0])}, highest ${show(sorted.at(-1))}, last ${show(known.at(-1))}`;
}
