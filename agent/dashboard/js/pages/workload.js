// One workload: what it costs, how it is answered, and what was done about it.
import * as api from "../api.js";
import { h, replace } from "../dom.js";
import { link } from "../router.js";
import { Source, paced } from "../source.js";
import { nanos, share } from "../format/money.js";
import { date, zone } from "../format/time.js";
import { count, counted, milliseconds, percent, short } from "../format/numbers.js";
import { sentence, words } from "../format/text.js";
import { bar, parts } from "../components/bar.js";
import { callTable, received, sent } from "../components/calls.js";
import { choice } from "../components/choice.js";
import { orFailure, panel } from "../components/panel.js";
import { calendar, grouped, span, spendChart } from "../components/spend.js";
import { empty } from "../components/states.js";
import { table } from "../components/table.js";
import { covered, money, quantity } from "../components/value.js";

const SPANS = [7, 30, 90];
const PACE = 3000;
const EVERY = 60_000;

const TOKENS = [
  ["input_tokens", "input", "--series-1"],
  ["cache_read_tokens", "cache read", "--series-5"],
  ["cache_write_5m_tokens", "cache write, 5 min", "--series-3"],
  ["cache_write_1h_tokens", "cache write, 1 h", "--series-3"],
  ["output_tokens", "output", "--series-2"],
  ["reasoning_tokens", "reasoning", "--series-4"],
  ["audio_input_tokens", "audio in", "--series-6"],
  ["audio_output_tokens", "audio out", "--series-6"],
];

/** The page, for a session. */
export function workload(app) {
  return (place, route) => mount(app, place, route);
}

function mount(app, place, route) {
  const name = route.parts.slice(1).join("/");
  let days = daysOf(route);
  const source = new Source((signal) =>
    api.byDay(`/api/analytics/agents/${encodeURIComponent(name)}`, { days }, signal),
  );
  const spans = choice(
    "Span of days",
    SPANS.map((option) => [option, `${option} days`]),
    days,
    (chosen) => location.replace(link(["workload", name], { days: chosen === 30 ? null : chosen })),
  );
  const about = h("p", null, "Workload");
  const panels = [];
  const add = (title, pick, view, more = {}) => {
    const made = panel({ title, pick, view, source, ...more });
    panels.push(made);
    return made.node;
  };
  const shown = orFailure(
    source,
    h(
      "div",
      { class: "grid even" },
      add("At a glance", (data) => data.total, glance, { lines: 2 }),
      add("Cost per day", spentByDay, perDay, { lines: 7, size: "two-thirds" }),
      h(
        "div",
        { class: "third column" },
        add("Tokens", (data) => data.total, tokens),
        add("Latency", ({ latency, ttft }) => ({ latency, ttft }), answerTimes),
      ),
      add("Models", (data) => data.models, models, { size: "two-thirds" }),
      add("Errors", (data) => data.errors, errors, { size: "third" }),
      add("Policies", (data) => data.policies, policies, { size: "two-thirds" }),
      add("Connections", (data) => data.connections, connections, { size: "third" }),
      add("Newest calls", (data) => data.calls, calls, { lines: 6 }),
    ),
  );
  replace(
    place,
    h(
      "div",
      { class: "page-head" },
      h(
        "div",
        null,
        h("a", { class: "crumb", href: "#/" }, "← Overview"),
        h("h1", { tabindex: -1 }, name),
        about,
      ),
      spans.node,
    ),
    shown.node,
  );
  const soon = paced(PACE, () => source.refresh());
  const undo = [
    source.subscribe(({ data }) => {
      if (data !== undefined) {
        const [first, last] = span(data);
        replace(
          about,
          `Workload · ${date(`${first}T12:00:00`)} to ${date(`${last}T12:00:00`)}, days in ${zone()}`,
        );
      }
    }),
    app.stream.on("call", (event) => event.workload === name && soon()),
    app.stream.on("missed", soon),
    app.stream.on("live", soon),
    () => soon.cancel(),
  ];
  const timer = setInterval(soon, EVERY);
  source.refresh();
  return {
    update(changed) {
      days = daysOf(changed);
      spans.show(days);
      source.refresh();
    },
    dispose() {
      clearInterval(timer);
      undo.forEach((end) => end());
      [shown, ...panels].forEach((part) => part.dispose());
      source.dispose();
    },
  };
}

function daysOf({ query }) {
  const days = Number(query.get("days"));
  return SPANS.includes(days) ? days : 30;
}

function glance(total) {
  const figure = (key, title, value, note) =>
    h(
      "div",
      { class: "figure", data: { figure: key } },
      h("h3", null, title),
      h("p", { class: "figure-value" }, value),
      h("p", { class: "muted small" }, note ?? "\u00a0"),
    );
  const errorRate =
    total.calls > 0 ? `${((total.errors / total.calls) * 100).toFixed(1)}% of calls` : null;
  const notional =
    nanos(total.subscription_usd) > 0n
      ? [money(total.subscription_usd), " of it on a flat plan"]
      : null;
  const unpriced =
    total.unpriced_calls > 0 ? `${counted(total.unpriced_calls, "call")} unpriced` : null;
  return h(
    "div",
    { class: "figures-row four" },
    figure("cost", "Cost", money(total.cost_usd), notional ?? unpriced ?? covered(total.coverage)),
    figure(
      "calls",
      "Calls",
      quantity(total.calls, count(total.calls)),
      total.requests > 0 ? counted(total.requests, "other request") : null,
    ),
    figure(
      "tokens",
      "Tokens",
      quantity(sent(total) + received(total), short(sent(total) + received(total))),
      `${short(sent(total))} sent, ${short(received(total))} received`,
    ),
    figure("errors", "Errors", quantity(total.errors, count(total.errors)), errorRate),
  );
}

function spentByDay(data) {
  const [first, last] = span(data);
  return { days: data.days, first, last };
}

function perDay({ days, first, last }) {
  const periods = calendar(first, last);
  const groups = grouped(days, periods, () => "Cost");
  if (groups.length === 0) {
    return empty("Nothing was spent", "No call of it had a cost in this span.");
  }
  return spendChart(periods, groups, "workload");
}

function tokens(total) {
  const entries = TOKENS.map(([key, name, colour]) => ({
    name,
    colour,
    size: total[key],
    shown: count(total[key]),
  }));
  return entries.some((entry) => entry.size > 0)
    ? parts(entries)
    : empty("No tokens", "No call of it reported any.");
}

function models(rows) {
  if (rows.length === 0) {
    return empty("No models yet");
  }
  const all = rows.reduce((sum, row) => sum + nanos(row.cost_usd), 0n);
  return table(
    "Models by cost",
    [
      {
        title: "Model",
        wide: true,
        cell: (row) => h("span", { class: "name" }, row.model ?? "not known"),
      },
      { title: "Calls", number: true, extra: true, cell: (row) => count(row.calls) },
      {
        title: "Sent",
        number: true,
        extra: true,
        cell: (row) => quantity(sent(row), short(sent(row))),
      },
      {
        title: "Received",
        number: true,
        extra: true,
        cell: (row) => quantity(received(row), short(received(row))),
      },
      { title: "Share", extra: true, cell: (row) => bar(share(nanos(row.cost_usd), all)) },
      { title: "Cost", number: true, cell: (row) => money(row.cost_usd) },
    ],
    rows,
    (row) => ({ data: { model: row.model } }),
  );
}

function answerTimes({ latency: answer, ttft }) {
  if (answer.samples === 0) {
    return empty("Nothing measured");
  }
  const rows = [
    { name: "Median", key: "p50_ms" },
    { name: "95th percentile", key: "p95_ms" },
    { name: "99th percentile", key: "p99_ms" },
  ];
  return h(
    "div",
    null,
    table(
      "Latency",
      [
        { title: "", cell: (row) => row.name },
        {
          title: "First token",
          number: true,
          cell: (row) => milliseconds(ttft.samples === 0 ? null : ttft[row.key]),
        },
        { title: "Whole answer", number: true, cell: (row) => milliseconds(answer[row.key]) },
      ],
      rows,
    ),
    h(
      "p",
      { class: "muted small table-note" },
      `Of ${counted(answer.samples, "call")}, ${counted(ttft.samples, "stream")}`,
    ),
  );
}

function errors(rows) {
  if (rows.length === 0) {
    return empty("No errors", "Every call in this span was answered well.");
  }
  return h(
    "ul",
    { class: "share-list" },
    rows.map((row) =>
      h(
        "li",
        null,
        h("span", null, sentence(words(row.class))),
        h("span", { class: "number" }, `${count(row.count)} · ${Number(row.percent).toFixed(1)}%`),
        bar(Number(row.percent) / 100, "bad"),
      ),
    ),
  );
}

function connections(rows) {
  if (rows.length === 0) {
    return empty("No connections in this span");
  }
  const all = rows.reduce((sum, row) => sum + row.count, 0);
  return h(
    "ul",
    { class: "share-list" },
    rows.map((row) =>
      h(
        "li",
        null,
        h(
          "span",
          null,
          sentence(row.mode),
          row.reason === "" || row.reason === null
            ? null
            : h("span", { class: "muted" }, ` ${words(row.reason)}`),
        ),
        h("span", { class: "number" }, `${count(row.count)} · ${percent(row.count / all)}`),
        bar(row.count / all, row.mode === "metered" ? "good" : "warn"),
      ),
    ),
  );
}

function policies(rows) {
  if (rows.length === 0) {
    return empty("No policy acted", "None refused, delayed or changed a call of it.");
  }
  return table(
    "Policies that acted on it",
    [
      {
        title: "Policy",
        wide: true,
        cell: (row) =>
          h("a", { class: "name", href: link(["policies"], { find: row.policy }) }, row.policy),
      },
      { title: "Action", cell: (row) => row.action.replace(/^would-/, "would ") },
      { title: "Calls", number: true, cell: (row) => count(row.count) },
    ],
    rows,
  );
}

function calls(rows) {
  return rows.length === 0
    ? empty("No calls in this span")
    : callTable("The newest calls", rows, { withWorkload: false });
}
