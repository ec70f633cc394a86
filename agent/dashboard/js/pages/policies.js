// Which rules there are, how far each goes, and how it fared. Administrators change how far.
import * as api from "../api.js";
import { h, replace } from "../dom.js";
import { Source, paced } from "../source.js";
import { count } from "../format/numbers.js";
import { sentence, words } from "../format/text.js";
import { changeReach } from "../components/change.js";
import { panel } from "../components/panel.js";
import { reach } from "../components/pill.js";
import { empty, notice } from "../components/states.js";
import { table } from "../components/table.js";
import { toast } from "../components/toast.js";

const PACE = 2000;
const EVERY = 30_000;
const KINDS = {
  rate_limits: "Rate limits",
  budgets: "Budgets",
  failover: "Failover",
  breaker: "Circuit breakers",
};

/** The page, for a session. */
export function policies(app) {
  return (place, route) => mount(app, place, route);
}

function mount(app, place, route) {
  const source = new Source((signal) => api.get("/api/policies", {}, signal));
  const search = h("input", {
    type: "search",
    id: "find-policy",
    placeholder: "Find a policy",
    autocomplete: "off",
    spellcheck: "false",
    value: route.query.get("find") ?? "",
  });
  const notices = h("div", { class: "notices" });
  const list = panel({
    title: "All policies",
    source,
    view: (data) => {
      const body = h("div", { class: "stack" });
      const show = () =>
        replace(body, groups(app, data, search.value.trim().toLowerCase(), change));
      search.addEventListener("input", show);
      show();
      return { node: body, dispose: () => search.removeEventListener("input", show) };
    },
    aside: h(
      "div",
      { class: "search" },
      h("label", { class: "unseen", for: "find-policy" }, "Find a policy"),
      search,
    ),
    lines: 8,
  });
  const change = async (policy, acting) => {
    const wanted = await changeReach(policy, acting, (enforcement) =>
      api.put(`/api/policies/${policy.name.split("/").map(encodeURIComponent).join("/")}`, {
        enforcement,
      }),
    );
    if (wanted !== undefined) {
      await source.refresh();
      toast(
        wanted === null
          ? `${policy.name} is as the configuration says`
          : `${policy.name} is set to ${wanted.replace(":", " ")}`,
      );
    }
    place.querySelector(`[data-key="${CSS.escape(`change-${policy.name}`)}"]`)?.focus();
  };
  replace(
    place,
    h(
      "div",
      { class: "page-head" },
      h(
        "div",
        null,
        h("h1", { tabindex: -1 }, "Policies"),
        h(
          "p",
          null,
          app.isAdministrator
            ? "How far each goes. What is set here holds until the configuration's own value changes."
            : "How far each goes. Only administrators change that.",
        ),
      ),
    ),
    notices,
    list.node,
  );
  const soon = paced(PACE, () => source.refresh());
  const undo = [
    source.subscribe(({ data }) => {
      replace(
        notices,
        data === undefined || data.acting
          ? null
          : notice(
              "info",
              h("b", null, "Policies do not act in this mode. "),
              "All of them decide and are counted, as shadows do, until the mode is enforce.",
            ),
      );
    }),
    ...["policy", "config", "mode", "missed", "live", "call"].map((kind) =>
      app.stream.on(kind, soon),
    ),
    () => soon.cancel(),
  ];
  const timer = setInterval(soon, EVERY);
  source.refresh();
  return {
    dispose() {
      clearInterval(timer);
      undo.forEach((end) => end());
      list.dispose();
      source.dispose();
    },
  };
}

function groups(app, { rows, acting }, wanted, change) {
  if (rows.length === 0) {
    return empty(
      "No policies",
      "The configuration has none. Examples are in /usr/share/doc/weir/examples.",
      "weir config schema",
    );
  }
  const found = rows.filter((row) => `${row.name}\n${row.about}`.toLowerCase().includes(wanted));
  if (found.length === 0) {
    return empty(
      "None like that",
      `${count(rows.length)} policies, none with “${wanted}” in its name.`,
    );
  }
  const kinds = Map.groupBy(found, (row) =>
    row.name.includes(".") ? row.name.slice(0, row.name.indexOf(".")) : "others",
  );
  return [...kinds].map(([kind, members]) => {
    const title = KINDS[kind] ?? sentence(words(kind));
    return h(
      "section",
      { class: "policies", "aria-label": title },
      h("h3", { class: "group-title" }, title),
      rowsOf(app, title, members, acting, change),
    );
  });
}

function rowsOf(app, title, rows, acting, change) {
  const isCounted = rows.some((row) => row.passed !== null);
  return table(
    title,
    [
      {
        title: "Policy",
        wide: true,
        cell: (row) => [
          h("span", { class: "name" }, h("b", null, row.name)),
          h(
            "span",
            { class: "muted small block" },
            row.about === "" ? row.summary : `${row.about}: ${row.summary}`,
          ),
        ],
      },
      {
        title: "Enforcement",
        cell: (row) => [
          reach(row.enforcement),
          row.overridden
            ? h(
                "span",
                { class: "muted small block" },
                `set by hand; configuration: ${row.configured.replace(":", " ")}`,
              )
            : null,
        ],
      },
      {
        title: "Passed",
        number: true,
        extra: true,
        hidden: !isCounted,
        cell: (row) => count(row.passed ?? 0),
      },
      {
        title: "Acted",
        number: true,
        extra: true,
        hidden: !isCounted,
        cell: (row) => count(row.acted ?? 0),
      },
      {
        title: "Would have",
        number: true,
        extra: true,
        hidden: !isCounted,
        cell: (row) => count(row.shadowed ?? 0),
      },
      {
        title: h("span", { class: "unseen" }, "Change"),
        hidden: !app.isAdministrator,
        number: true,
        cell: (row) =>
          h(
            "button",
            {
              type: "button",
              class: "button small",
              "aria-label": `Change ${row.name}`,
              data: { key: `change-${row.name}` },
              on: { click: () => change(row, acting) },
            },
            "Change…",
          ),
      },
    ],
    rows,
    (row) => ({ data: { policy: row.name } }),
  );
}
