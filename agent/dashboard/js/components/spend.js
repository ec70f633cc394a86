// Spend over days as a chart, its legend, and the same figures as a table.
import { h } from "../dom.js";
import { nanos, usd } from "../format/money.js";
import { day, dayAfter, isoDay } from "../format/time.js";
import { stackedBars } from "./chart.js";
import { money } from "./value.js";

/** Groups beyond these are one, "others": more colours could not be told apart. */
const MOST = 6;
const OTHERS = "--series-other";

/** Rows with `period` and `key(row)` as groups by size, each with an amount for every period. */
export function grouped(rows, periods, key) {
  const place = new Map(periods.map((period, index) => [period, index]));
  const groups = new Map();
  for (const row of rows) {
    const index = place.get(row.period);
    if (index === undefined) {
      continue;
    }
    const name = key(row);
    const group = groups.get(name) ?? { name, whole: 0n, amounts: periods.map(() => 0n) };
    const amount = nanos(row.cost_usd);
    group.amounts[index] += amount;
    group.whole += amount;
    groups.set(name, group);
  }
  const sized = [...groups.values()].filter((group) => group.whole > 0n);
  // By name where they are equal, so that colours stay where they are.
  sized.sort((a, b) =>
    a.whole === b.whole ? (a.name < b.name ? -1 : 1) : a.whole > b.whole ? -1 : 1,
  );
  const first = sized.length > MOST ? sized.slice(0, MOST - 1) : sized;
  const rest = sized.slice(first.length);
  first.forEach((group, index) => {
    group.colour = `--series-${index + 1}`;
  });
  if (rest.length > 0) {
    const sum = (at) => rest.reduce((whole, group) => whole + group.amounts[at], 0n);
    const whole = rest.reduce((all, group) => all + group.whole, 0n);
    const amounts = periods.map((_, at) => sum(at));
    first.push({ name: `${rest.length} others`, whole, amounts, colour: OTHERS });
  }
  return first;
}

/** The calendar days that an answer is about: its end is the beginning of the day after. */
export function span({ since, until }) {
  const last = new Date(new Date(until).getTime() - 1);
  return [isoDay(since), isoDay(last)];
}

/** All calendar days from the first to the last. */
export function calendar(first, last) {
  const days = [];
  for (let period = first; period <= last && days.length < 367; period = dayAfter(period)) {
    days.push(period);
  }
  return days;
}

/** Chart, legend and table. `what` names the groups. */
export function spendChart(periods, groups, what) {
  const whole = groups.reduce((sum, group) => sum + group.whole, 0n);
  const span = `${day(periods[0])} to ${day(periods.at(-1))}`;
  const names = groups.map((group) => `${group.name} ${usd(group.whole)}`).join(", ");
  const label = `Spend per day from ${span}, ${usd(whole)} in all: ${names}`;
  const chart = stackedBars({ label, periods, groups });
  const node = h(
    "div",
    { class: "spend" },
    chart.node,
    groups.length > 1 ? legend(groups) : null,
    h(
      "details",
      { data: { key: "figures" } },
      h("summary", null, "Show as a table"),
      figures(periods, groups, what, whole),
    ),
  );
  return { node, dispose: chart.dispose };
}

function legend(groups) {
  return h(
    "ul",
    { class: "legend" },
    groups.map((group) =>
      h(
        "li",
        null,
        h("span", { class: "swatch", vars: { "--colour": `var(${group.colour})` } }),
        h("span", { class: "legend-name" }, group.name),
        h("span", { class: "muted" }, usd(group.whole)),
      ),
    ),
  );
}

function figures(periods, groups, what, whole) {
  const filled = periods.filter((_, at) => groups.some((group) => group.amounts[at] > 0n));
  const at = (period) => periods.indexOf(period);
  return h(
    "div",
    { class: "table-frame", tabindex: 0, role: "region", "aria-label": `Spend per day by ${what}` },
    h(
      "table",
      { class: "figures" },
      h(
        "caption",
        { class: "unseen" },
        `Spend per day by ${what}; days without spend are left out`,
      ),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          h("th", { scope: "col" }, "Day"),
          groups.map((group) => h("th", { scope: "col", class: "number" }, group.name)),
          h("th", { scope: "col", class: "number" }, "All"),
        ),
      ),
      h(
        "tbody",
        null,
        filled.map((period) =>
          h(
            "tr",
            null,
            h("th", { scope: "row", class: "nowrap" }, day(period)),
            groups.map((group) => h("td", { class: "number" }, money(group.amounts[at(period)]))),
            h(
              "td",
              { class: "number" },
              money(groups.reduce((sum, group) => sum + group.amounts[at(period)], 0n)),
            ),
          ),
        ),
      ),
      h(
        "tfoot",
        null,
        h(
          "tr",
          null,
          h("th", { scope: "row" }, "All"),
          groups.map((group) => h("td", { class: "number" }, money(group.whole))),
          h("td", { class: "number" }, money(whole)),
        ),
      ),
    ),
  );
}
