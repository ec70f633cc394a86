// Whether the agent does what it was asked to, and what to do where it does not.
import { h, replace } from "../dom.js";
import { link } from "../router.js";
import { count, counted, milliseconds, percent } from "../format/numbers.js";
import { dateTime, elapsed } from "../format/time.js";
import { words } from "../format/text.js";
import { orFailure, panel } from "../components/panel.js";
import { pill, reach } from "../components/pill.js";
import { copyable, empty } from "../components/states.js";
import { facts, table } from "../components/table.js";

/** The page, for a session. */
export function health(app) {
  return (place) => mount(app, place);
}

function mount(app, place) {
  const source = app.status;
  const about = h("p", null, "Whether the agent does what it was asked to");
  const panels = [
    panel({ title: "Warnings", source, view: warnings, size: "two-thirds" }),
    panel({ title: "State", source, view: state, size: "third" }),
    panel({ title: "Kernel hooks", source, view: hooks, size: "half" }),
    panel({ title: "Listeners", source, view: listeners, size: "half" }),
    panel({ title: "Trust", source, view: trust, size: "half" }),
    panel({ title: "Prices and overhead", source, view: prices, size: "half" }),
    panel({ title: "Policies", source, view: policies, size: "half" }),
    panel({ title: "Coverage today", source, view: coverage, size: "half" }),
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
    h("div", { class: "page-head" }, h("div", null, h("h1", { tabindex: -1 }, "Health"), about)),
    shown.node,
  );
  const forget = source.subscribe(({ data }) => {
    if (data !== undefined) {
      replace(about, `Weir ${data.version}, process ${data.pid}, since ${dateTime(data.since)}`);
    }
  });
  source.refresh();
  return {
    dispose() {
      forget();
      [shown, ...panels].forEach((part) => part.dispose());
    },
  };
}

function warnings({ warnings: rows }) {
  if (rows.length === 0) {
    return empty("All is well", "The agent does what it was asked to.");
  }
  return h(
    "ul",
    { class: "warning-list" },
    rows.map((row) =>
      h(
        "li",
        { data: { tone: row.degrades ? "bad" : "warn" } },
        h(
          "p",
          null,
          row.degrades ? pill("bad", "degrades") : pill("warn", "notice"),
          " ",
          row.what,
        ),
        row.fix === null ? null : copyable(row.fix),
      ),
    ),
  );
}

function state(status) {
  const { mode, capture, namespaces } = status;
  const left = Object.entries(namespaces?.left_out ?? {});
  return facts([
    ["State", pill(status.state === "healthy" ? "good" : "bad", status.state)],
    [
      "Mode",
      h("b", null, mode.effective),
      mode.effective === mode.wanted ? null : `, not ${mode.wanted}`,
      mode.reason === null ? null : h("p", { class: "muted small" }, mode.reason),
    ],
    [
      "Capture",
      capture.on ? "on" : "off",
      capture.reason === null ? null : h("p", { class: "muted small" }, capture.reason),
    ],
    ["Up for", elapsed(Date.now() - new Date(status.since).getTime())],
    [
      "Namespaces",
      namespaces === undefined ? "–" : `${count(namespaces.armed)} beside its own`,
      left.length === 0
        ? null
        : h(
            "p",
            { class: "muted small" },
            left.map(([why, many]) => `${count(many)} left out: ${words(why)}`).join(", "),
          ),
    ],
    status.escalations === undefined
      ? null
      : ["Escalations", `${count(status.escalations.open)} open`],
  ]);
}

function hooks({ capabilities }) {
  if (capabilities.length === 0) {
    return empty(
      "No hooks",
      "The kernel half is not attached here; the explicit proxy still meters.",
      "weir doctor",
    );
  }
  return table(
    "Hooks of the kernel half",
    [
      { title: "Hook", cell: (row) => h("span", { class: "mono" }, row.hook) },
      { title: "State", cell: (row) => (row.ok ? pill("good", "works") : pill("bad", "missing")) },
      {
        title: "Without it",
        wide: true,
        cell: (row) => (row.ok ? "" : [row.missing, row.consequence].filter(Boolean).join(": ")),
      },
    ],
    capabilities,
  );
}

function listeners({ listeners: rows }) {
  if (rows.length === 0) {
    return empty("No listeners");
  }
  return table(
    "Addresses listened on",
    [
      { title: "For", cell: (row) => row.name },
      {
        title: "Address",
        wide: true,
        cell: (row) => h("span", { class: "mono breaks" }, row.address),
      },
    ],
    rows,
  );
}

function trust({ trust: found }) {
  return h(
    "div",
    { class: "stack" },
    facts([
      ["Installed", found.installed ? pill("good", "yes") : pill("warn", "no"), ` ${found.detail}`],
      ["Root", found.root === null ? "none" : h("span", { class: "mono breaks" }, found.root)],
    ]),
    found.installed ? null : copyable("weir trust install"),
  );
}

function prices({ price_version: version, overhead, version: agent }) {
  return facts([
    ["Agent", agent],
    ["Prices of", version ?? "not known"],
    [
      "Added to calls",
      overhead === null
        ? "nothing measured yet"
        : `${milliseconds(overhead.p50_us / 1000)} in the middle, ${milliseconds(overhead.p99_us / 1000)} at the 99th percentile`,
    ],
  ]);
}

function policies({ policies: found, mode }) {
  const counts = [
    ["shadow", found.shadow],
    ["canary", found.canary],
    ["off", found.off],
  ].filter(([, many]) => many > 0);
  const rest = counts.map(([word, many]) => `${count(many)} ${word}`).join(", ");
  return h(
    "div",
    { class: "stack" },
    h(
      "p",
      null,
      `${counted(found.total, "policy", "policies")}${rest === "" ? "" : `, of them ${rest}`}. `,
      found.acting ? "They act." : `None acts in mode ${mode.effective}.`,
    ),
    found.overridden.length === 0
      ? null
      : table(
          "Set by hand",
          [
            {
              title: "Set by hand",
              wide: true,
              cell: (row) =>
                h("a", { class: "name", href: link(["policies"], { find: row.name }) }, row.name),
            },
            { title: "Enforcement", cell: (row) => reach(row.enforcement) },
            { title: "Configuration", cell: (row) => reach(row.configured) },
          ],
          found.overridden,
        ),
  );
}

function coverage({ coverage: found }) {
  if (found.total === 0) {
    return empty("No connections to LLM hosts today");
  }
  return h(
    "div",
    { class: "stack" },
    h(
      "p",
      null,
      h("b", null, percent(found.metered / found.total)),
      ` of ${counted(found.total, "connection")} metered`,
    ),
    found.reasons.length === 0
      ? null
      : table(
          "Connections that were not metered",
          [
            { title: "Treated as", cell: (row) => row.treatment },
            { title: "Why", wide: true, cell: (row) => words(row.reason) },
            { title: "Connections", number: true, cell: (row) => count(row.count) },
          ],
          found.reasons,
        ),
  );
}
