// One call with everything that was done about it: what `weir explain` says.
import * as api from "../api.js";
import { h, replace } from "../dom.js";
import { link } from "../router.js";
import { Source } from "../source.js";
import { exact, nanos } from "../format/money.js";
import { clock, dateTime } from "../format/time.js";
import { bytes, count, milliseconds, shortest } from "../format/numbers.js";
import { words } from "../format/text.js";
import { orFailure, panel } from "../components/panel.js";
import { outcome, pill } from "../components/pill.js";
import { copyable, empty } from "../components/states.js";
import { facts, table } from "../components/table.js";
import { money } from "../components/value.js";

const KINDS = [
  ["input_tokens", "input"],
  ["cache_read_tokens", "cache read"],
  ["cache_write_5m_tokens", "cache write 5m"],
  ["cache_write_1h_tokens", "cache write 1h"],
  ["output_tokens", "output"],
  ["reasoning_tokens", "reasoning"],
  ["audio_input_tokens", "audio in"],
  ["audio_output_tokens", "audio out"],
];

/** The page, for a session. */
export function call(app) {
  return (place, route) => mount(app, place, route);
}

function mount(app, place, route) {
  const id = route.parts[1] ?? "";
  const source = new Source((signal) =>
    api.get(`/api/calls/${encodeURIComponent(id)}`, {}, signal),
  );
  const about = h("p", null, "One call, and what was done about it");
  const panels = [
    panel({ title: "What happened", source, view: what, lines: 9, size: "two-thirds" }),
    panel({ title: "What it came to", source, view: figures, lines: 6, size: "third" }),
    panel({ title: "Attempts", source, view: attempts, lines: 2 }),
    panel({ title: "Decisions", source, view: decisions, lines: 6 }),
  ];
  const shown = orFailure(
    source,
    h(
      "div",
      { class: "grid even" },
      panels.map((part) => part.node),
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
        h("h1", { tabindex: -1 }, "Call ", h("span", { class: "mono" }, id)),
        about,
      ),
      copyable(`weir explain ${id}`),
    ),
    shown.node,
  );
  const undo = [
    // One that is open now is whole when its event comes.
    app.stream.on("call", (event) => event.data.call_id === id && source.refresh()),
    source.subscribe(({ data }) => {
      if (data !== undefined) {
        replace(
          about,
          `${data.call.operation} on ${data.call.provider}, ${dateTime(data.call.started_at)}`,
        );
      }
    }),
  ];
  source.refresh();
  return {
    dispose() {
      undo.forEach((end) => end());
      [shown, ...panels].forEach((part) => part.dispose());
      source.dispose();
    },
  };
}

function what({ call: row, url }) {
  const of = (word, name) =>
    name === null
      ? null
      : h("span", { class: "tag" }, h("span", { class: "muted" }, word), ` ${name}`);
  return facts([
    ["Request", h("span", { class: "mono breaks" }, `${row.method} ${url}`)],
    row.model === null
      ? null
      : [
          "Model",
          row.model,
          row.model_served !== null && row.model_served !== row.model
            ? `, answered by ${row.model_served}`
            : null,
        ],
    [
      "Who",
      h("a", { class: "name", href: link(["workload", row.workload]) }, row.workload),
      h(
        "span",
        { class: "tags" },
        of("pid", row.pid),
        of("user", row.user),
        of("team", row.team),
        of("agent", row.agent_name),
        of("account", row.account),
        of("unit", row.unit),
        of("container", row.container),
        of("environment", row.environment),
      ),
    ],
    ["Command", h("span", { class: "mono breaks" }, row.command)],
    ["When", dateTime(row.started_at), `, by ${words(row.via)}`],
    [
      "Result",
      outcome(row),
      row.status === null
        ? null
        : h("span", { class: "muted" }, ` HTTP ${row.status}${row.stream ? ", streamed" : ""}`),
      row.error === null ? null : h("p", { class: "error-text" }, row.error),
    ],
    ["Sizes", `${bytes(row.bytes_in)} up, ${bytes(row.bytes_out)} down`],
    row.retry_of === null
      ? null
      : ["Repeats", h("a", { class: "mono", href: link(["call", row.retry_of]) }, row.retry_of)],
    row.flags.length === 0 ? null : ["Note", row.flags.map(words).join(", ")],
  ]);
}

function figures({ call: row }) {
  const used = KINDS.filter(([key]) => row[key] > 0);
  return facts([
    [
      "Cost",
      row.cost_usd === null
        ? "not known"
        : h("data", { value: row.cost_usd, class: "figure-value" }, exact(nanos(row.cost_usd))),
      h(
        "p",
        { class: "muted small" },
        `${words(row.billing)}${row.price_version === null ? "" : `, prices of ${row.price_version}`}`,
      ),
    ],
    [
      "Tokens",
      used.length === 0
        ? "none"
        : h(
            "ul",
            { class: "token-list" },
            used.map(([key, name]) =>
              h("li", null, h("span", { class: "muted" }, name), h("span", null, count(row[key]))),
            ),
          ),
      h("p", { class: "muted small" }, `${words(row.usage_source)}`),
    ],
    ["Took", milliseconds(row.latency_ms)],
    ["Provider took", milliseconds(row.upstream_ms)],
    row.ttft_ms === null ? null : ["First token after", milliseconds(row.ttft_ms)],
  ]);
}

function attempts({ call: row, attempts: rows }) {
  if (rows.length === 0) {
    return empty(
      "No provider was asked",
      row.outcome === "refused"
        ? "A policy refused the call: the decisions below say which."
        : null,
    );
  }
  const began = new Date(row.started_at).getTime();
  return table(
    "Attempts in order",
    [
      {
        title: "After",
        cell: (entry) => shortest(Math.max(0, new Date(entry.started_at).getTime() - began)),
      },
      { title: "Provider", cell: (entry) => entry.provider },
      {
        title: "Model",
        wide: true,
        cell: (entry) => h("span", { class: "name" }, entry.model ?? "–"),
      },
      { title: "Result", cell: (entry) => outcome({ ...entry, error: null }) },
      {
        title: "Took",
        number: true,
        extra: true,
        cell: (entry) => milliseconds(entry.upstream_ms),
      },
      { title: "Cost", number: true, cell: (entry) => money(entry.cost_usd) },
    ],
    rows,
  );
}

function decisions({ call: row, decisions: rows }) {
  if (rows.length === 0) {
    return empty("No decision is recorded", row.kind === "call" ? null : "It is no LLM call.");
  }
  const isShadow = rows.some((entry) => entry.action.startsWith("would-"));
  return h(
    "div",
    null,
    table(
      "Decisions in order",
      [
        {
          title: "After",
          cell: (entry) =>
            entry.at_ms === null ? clock(row.started_at) : `+${shortest(entry.at_ms)}`,
        },
        { title: "Rule", wide: true, cell: (entry) => h("span", { class: "name" }, entry.rule) },
        {
          title: "Decision",
          cell: (entry) => pill(tone(entry.action), entry.action.replace(/^would-/, "would ")),
        },
        {
          title: "Because",
          wide: true,
          extra: true,
          cell: (entry) => h("span", { class: "breaks" }, entry.detail),
        },
      ],
      rows,
    ),
    isShadow
      ? h(
          "p",
          { class: "muted small table-note" },
          "Would: a shadow, a canary for others, not enforcing, or refused by another.",
        )
      : null,
  );
}

function tone(action) {
  return action.startsWith("would-")
    ? "plain"
    : /refuse|deny|block|freeze/.test(action)
      ? "bad"
      : /throttle|delay|cap|downgrade|retry|failover/.test(action)
        ? "warn"
        : "plain";
}
