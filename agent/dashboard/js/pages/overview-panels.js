// What the panels of the overview show, each from one answer.
import { h } from "../dom.js";
import { link } from "../router.js";
import { share, nanos, usd } from "../format/money.js";
import { ahead } from "../format/time.js";
import { count, counted, fine, percent } from "../format/numbers.js";
import { sentence, words } from "../format/text.js";
import { bar, gauge, parts } from "../components/bar.js";
import { breaker, pill } from "../components/pill.js";
import { calendar, grouped, spendChart } from "../components/spend.js";
import { empty } from "../components/states.js";
import { table } from "../components/table.js";
import { covered, money } from "../components/value.js";

const TOP = 7;

/** What was spent by the calendar. */
export function spendNow({ spend, coverage }) {
  const ratio = coverage.total > 0 ? coverage.metered / coverage.total : null;
  const figure = (key, title, amount, note) =>
    h(
      "div",
      { class: "figure", data: { figure: key } },
      h("h3", null, title),
      h("p", { class: "figure-value" }, money(amount)),
      h("p", { class: "muted small" }, note),
    );
  return h(
    "div",
    { class: "figures-row" },
    figure("today", "Today", spend.today_usd, covered(ratio) ?? "no connections seen"),
    figure("month", "This month", spend.month_usd, "since its first day"),
    figure("projected", "Projected", spend.projected_month_usd, "the month at this rate"),
  );
}

const WHY = {
  observe: "the mode asks for no more",
  untrusted: "the client does not accept the CA",
  needs_restart: "started before the CA was there",
};

/** How much of what was seen the figures stand on. */
export function coverageNow({ metered, total, reasons }) {
  if (total === 0) {
    return empty("No connections to LLM hosts", "Nothing was seen in this span.", "weir ps");
  }
  const tones = ["--series-2", "--series-4", "--series-6", "--series-5"];
  const rest = [...reasons].sort((a, b) => b.count - a.count);
  const shown = rest.slice(0, tones.length - 1);
  const others = rest.slice(tones.length - 1).reduce((sum, reason) => sum + reason.count, 0);
  const entries = [
    { name: "metered", size: metered, shown: count(metered), colour: "--series-3" },
    ...shown.map((reason, at) => ({
      name: reason.reason === "" ? reason.treatment : (WHY[reason.reason] ?? words(reason.reason)),
      size: reason.count,
      shown: count(reason.count),
      colour: tones[at],
    })),
    { name: "other reasons", size: others, shown: count(others), colour: "--series-other" },
  ];
  return h(
    "div",
    { class: "coverage" },
    h(
      "p",
      { class: "figure-value" },
      percent(metered / total),
      h("span", { class: "muted small" }, ` of ${counted(total, "connection")} metered`),
    ),
    parts(entries),
  );
}

/** Spend by day, stacked. */
export function overTime({ rows, total, by, first, last }) {
  if (rows.length === 0) {
    return empty(
      "Nothing was spent",
      "No calls were metered in this span. Who talks to providers, and how far that is metered, says:",
      "weir ps",
    );
  }
  const periods = calendar(first, last);
  const groups = grouped(rows, periods, (row) => row[by] ?? "not known");
  if (groups.length === 0) {
    return empty(
      "No call had a known price",
      `${counted(total.unpriced_calls, "call")} without one.`,
      "weir price unknown",
    );
  }
  const chart = spendChart(periods, groups, by);
  const unpriced =
    total.unpriced_calls > 0
      ? h(
          "p",
          { class: "muted small" },
          `${counted(total.unpriced_calls, "call")} without a known price are in no figure.`,
        )
      : null;
  const head = h(
    "p",
    { class: "chart-sum" },
    money(total.cost_usd),
    h("span", { class: "muted" }, ` for ${counted(total.calls, "call")}`),
  );
  return { node: h("div", null, head, chart.node, unpriced), dispose: chart.dispose };
}

/** Who spent most. */
export function topWorkloads({ rows, total }, days) {
  const spent = rows.map((row) => ({ row, amount: nanos(row.cost_usd) }));
  spent.sort((a, b) =>
    b.amount > a.amount ? 1 : b.amount < a.amount ? -1 : b.row.calls - a.row.calls,
  );
  if (spent.length === 0) {
    return empty("No workloads yet", "They appear with their first call.");
  }
  const whole = nanos(total.cost_usd);
  const list = spent.slice(0, TOP).map(({ row, amount }) =>
    h(
      "li",
      { data: { workload: row.workload } },
      h(
        "a",
        {
          class: "top-name name",
          href: link(["workload", row.workload], { days: days === 30 ? null : days }),
          data: { key: `top-${row.workload}` },
        },
        row.workload,
      ),
      h("span", { class: "number" }, money(amount)),
      bar(share(amount, whole)),
      h(
        "p",
        { class: "muted small" },
        [
          counted(row.calls, "call"),
          row.errors > 0 ? counted(row.errors, "error") : null,
          row.unpriced_calls > 0 ? `${count(row.unpriced_calls)} unpriced` : null,
          row.coverage === null || row.coverage === undefined
            ? null
            : `${percent(row.coverage)} metered`,
        ]
          .filter((part) => part !== null)
          .join(" · "),
      ),
    ),
  );
  const more = spent.length - list.length;
  return h(
    "div",
    null,
    h("ol", { class: "top-list" }, list),
    more > 0 ? h("p", { class: "muted small" }, `and ${counted(more, "workload")} more`) : null,
  );
}

const STANDING = { ok: "good", near: "warn", over: "bad" };

/** How budgets stand. */
export function budgetBars({ rows }) {
  if (rows.length === 0) {
    return empty(
      "No budget has been touched",
      "Budgets of the configuration appear here with their first spend.",
      "weir budget list",
    );
  }
  return h(
    "ul",
    { class: "budget-list" },
    rows.map((row) => {
      const name = row.policy.slice(row.policy.indexOf(".") + 1);
      const text = `${usd(nanos(row.spent_usd))} of ${usd(nanos(row.limit_usd))} per ${row.period}`;
      const until =
        row.exhausted_at !== null && row.standing !== "over"
          ? `spent ${ahead(row.exhausted_at)} at this rate`
          : row.resets_at !== null
            ? `resets ${ahead(row.resets_at)}`
            : null;
      return h(
        "li",
        { data: { budget: row.policy } },
        h(
          "div",
          { class: "budget-head" },
          h(
            "span",
            { class: "name" },
            h("b", null, name),
            row.subject === name ? null : h("span", { class: "muted" }, ` ${row.subject}`),
          ),
          row.enforcement === "enforce"
            ? null
            : h("span", { class: "muted small" }, row.enforcement),
          pill(STANDING[row.standing], row.standing),
        ),
        gauge({
          label: `Budget ${name}`,
          percent: row.used_percent,
          text,
          tone: STANDING[row.standing],
          marks: row.alert_at_percent,
        }),
        h(
          "p",
          { class: "muted small budget-foot" },
          h(
            "span",
            null,
            money(row.spent_usd),
            " of ",
            money(row.limit_usd),
            ` per ${row.period}, ${Math.floor(row.used_percent)}%`,
          ),
          until === null ? null : h("span", null, until),
        ),
      );
    }),
  );
}

/** How providers fare. */
export function breakerList({ rows }) {
  if (rows.length === 0) {
    return empty("No breakers yet", "Each provider gets one with its first call.");
  }
  const order = { open: 0, "half-open": 1, closed: 2 };
  const sorted = [...rows].sort(
    (a, b) => order[a.state] - order[b.state] || (a.name < b.name ? -1 : 1),
  );
  return h(
    "ul",
    { class: "breaker-list" },
    sorted.map((row) =>
      h(
        "li",
        { data: { breaker: row.name } },
        h("span", { class: "name" }, h("b", null, row.name)),
        h(
          "span",
          { class: "muted small" },
          row.state === "closed"
            ? row.calls > 0
              ? `${row.failure_percent}% of ${counted(row.calls, "call")} failed`
              : "no calls lately"
            : `${row.by_hand ? "by hand" : (row.reason ?? "")}${row.until === null ? "" : `, tries again ${ahead(row.until)}`}`,
        ),
        breaker(row.state),
      ),
    ),
  );
}

/** What went wrong, by class. */
export function errorShares({ rows, calls, errors, availability }) {
  if (errors === 0) {
    return empty(
      "No errors",
      calls === 0 ? "No calls in this span." : `${counted(calls, "call")}, all answered well.`,
    );
  }
  return h(
    "div",
    { class: "stack" },
    h(
      "ul",
      { class: "share-list" },
      rows.map((row) =>
        h(
          "li",
          null,
          h("span", null, sentence(words(row.class))),
          h(
            "span",
            { class: "number" },
            `${count(row.count)} · ${Number(row.percent).toFixed(1)}%`,
          ),
          bar(Number(row.percent) / 100, "bad"),
        ),
      ),
    ),
    availability.length === 0
      ? null
      : table(
          "Availability by provider",
          [
            { title: "Provider", cell: (row) => row.provider },
            { title: "Calls", number: true, cell: (row) => count(row.calls) },
            { title: "Failed", number: true, cell: (row) => count(row.failed) },
            { title: "Available", number: true, cell: (row) => fine(row.availability) },
          ],
          availability,
        ),
  );
}

const WATCHED = { ok: "good", warning: "warn", breached: "bad" };

/** How workloads stand against their targets. */
export function errorBudgets({ workloads, forecast }) {
  if (workloads.length === 0 && forecast.length === 0) {
    return empty("Nothing watched yet", "Workloads appear here with their first calls.");
  }
  return h(
    "div",
    { class: "stack" },
    workloads.length === 0
      ? null
      : table(
          "Error budgets by workload",
          [
            {
              title: "Workload",
              wide: true,
              cell: (row) =>
                h("a", { class: "name", href: link(["workload", row.workload]) }, row.workload),
            },
            { title: "Task", extra: true, cell: (row) => row.task ?? "–" },
            {
              title: "Errors",
              number: true,
              cell: (row) => `${fine(row.window.rate)} of ${count(row.window.calls)}`,
            },
            {
              title: "Used",
              number: true,
              extra: true,
              cell: (row) => (row.budget_used === null ? "–" : percent(row.budget_used)),
            },
            { title: "State", cell: (row) => pill(WATCHED[row.state] ?? "plain", row.state) },
          ],
          workloads.slice(0, TOP),
        ),
    forecast.map((entry) =>
      h(
        "p",
        { class: "small" },
        h("b", null, entry.budget),
        ` is spent ${ahead(entry.exhausted_at)} at this rate.`,
      ),
    ),
  );
}
