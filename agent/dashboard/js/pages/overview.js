// Everything at a glance: the key figures, what is spent on what, and what happens now.
import * as api from "../api.js";
import { h, replace } from "../dom.js";
import { link } from "../router.js";
import { Source, paced } from "../source.js";
import { date, recent, zone } from "../format/time.js";
import { counted } from "../format/numbers.js";
import { LiveCalls } from "../components/calls.js";
import { choice } from "../components/choice.js";
import { KPIS, kpi } from "../components/kpi.js";
import { panel } from "../components/panel.js";
import { span } from "../components/spend.js";
import { failure, loading, notice } from "../components/states.js";
import { money } from "../components/value.js";
import {
  breakerList,
  budgetBars,
  coverageNow,
  errorBudgets,
  errorShares,
  overTime,
  spendNow,
  topWorkloads,
} from "./overview-panels.js";

const SPANS = [7, 30, 90];
const LIVE = 15;
/** Figures follow calls at most this often, the chart, which people point at, less often; and all of
 *  them are asked for this often where no call comes. */
const PACE = 3000;
const CHART_PACE = 10_000;
const EVERY = 60_000;

/** The page, for a session. */
export function overview(app) {
  return (place, route) => new Overview(app, place, route);
}

class Overview {
  #app;
  #days;
  #by;
  #undo = [];
  #parts = [];

  constructor(app, place, route) {
    this.#app = app;
    this.#read(route);
    const ask = (load, options) => this.#own(new Source(load, options));
    this.summary = ask((signal) =>
      api.byDay("/api/analytics/summary", { days: this.#days }, signal),
    );
    this.perDay = ask(async (signal) => {
      const spend = await this.#spend({ bucket: "day", by: this.#by }, signal);
      return { ...spend, by: this.#by };
    });
    this.top = ask((signal) => this.#spend({ by: "workload" }, signal));
    this.budgets = ask((signal) => api.get("/api/budgets", {}, signal));
    this.breakers = ask((signal) => api.get("/api/breakers", {}, signal));
    const optional = { optional: true };
    this.errors = ask(async (signal) => {
      const { since, until } = await this.summary.value();
      return api.get("/api/errors", { since, until }, signal);
    }, optional);
    this.watch = ask((signal) => api.get("/api/watch", {}, signal), optional);
    this.past = ask((signal) => api.get("/api/calls", { last: LIVE, kind: "call" }, signal));
    this.#show(place);
    this.#follow();
  }

  /** Takes another span or grouping. */
  update(route) {
    this.#read(route);
    this.span.show(this.#days);
    this.grouping.show(this.#by);
    this.#refreshFigures();
    this.perDay.refresh();
  }

  dispose() {
    this.#undo.forEach((undo) => undo());
    this.#parts.forEach((part) => part.dispose());
  }

  #own(part) {
    this.#parts.push(part);
    return part;
  }

  #read({ query }) {
    const days = Number(query.get("days"));
    this.#days = SPANS.includes(days) ? days : 30;
    this.#by = query.get("by") === "model" ? "model" : "workload";
  }

  #go(change) {
    const query = { days: this.#days, by: this.#by, ...change };
    location.replace(
      link([], {
        days: query.days === 30 ? null : query.days,
        by: query.by === "workload" ? null : query.by,
      }),
    );
  }

  async #spend(params, signal) {
    const { since, until } = await this.summary.value();
    const { rows, total, coverage } = await api.byDay(
      "/api/spend",
      { since, until, ...params },
      signal,
    );
    const [first, last] = span({ since, until });
    return { rows, total, coverage, first, last };
  }

  #refreshFigures() {
    // What hangs on the summary's span waits for it by itself.
    for (const source of [this.summary, this.top, this.errors, this.budgets]) {
      source.refresh();
    }
  }

  #refreshAll() {
    this.#refreshFigures();
    for (const source of [this.perDay, this.breakers, this.watch, this.past]) {
      source.refresh();
    }
  }

  #follow() {
    const { stream } = this.#app;
    const figures = paced(PACE, () => this.#refreshFigures());
    const chart = paced(CHART_PACE, () => this.perDay.refresh());
    const all = paced(PACE, () => this.#refreshAll());
    this.#undo.push(
      () => figures.cancel(),
      () => chart.cancel(),
      () => all.cancel(),
      stream.on("call", (event) => {
        if (event.data.kind === "call") {
          this.live.add(event.data);
        }
        figures();
        chart();
      }),
      stream.on("budget", () => this.budgets.refresh()),
      stream.on("breaker", () => this.breakers.refresh()),
      stream.on("watch", () => this.watch.refresh()),
      ...["config", "policy", "missed", "live"].map((kind) => stream.on(kind, all)),
      this.past.subscribe(({ data, problem }) => {
        if (data !== undefined) {
          this.live.fill(data.rows);
        } else if (problem !== null) {
          replace(
            this.live.node,
            failure(problem, () => this.past.refresh()),
          );
        }
      }),
    );
    const timer = setInterval(() => this.#refreshAll(), EVERY);
    this.#undo.push(() => clearInterval(timer));
    this.#refreshAll();
  }

  #show(place) {
    this.live = new LiveCalls(LIVE);
    replace(this.live.node, loading(6));
    this.span = choice(
      "Span of days",
      SPANS.map((days) => [days, `${days} days`]),
      this.#days,
      (days) => this.#go({ days }),
    );
    this.grouping = choice(
      "Group spend by",
      [
        ["workload", "Workload"],
        ["model", "Model"],
      ],
      this.#by,
      (by) => this.#go({ by }),
    );
    const about = h("p", null, this.#app.scope);
    const notices = h("div", { class: "notices" });
    const kpis = h("div", { class: "kpis" });
    const spend = panel({
      title: "Spend",
      source: this.summary,
      pick: ({ spend, coverage }) => ({ spend, coverage }),
      view: spendNow,
      lines: 2,
      size: "two-thirds",
    });
    const coverage = panel({
      title: "Coverage",
      source: this.summary,
      pick: (data) => data.coverage,
      view: coverageNow,
      lines: 2,
      size: "third",
    });
    const chart = panel({
      title: "Spend over time",
      source: this.perDay,
      view: overTime,
      aside: this.grouping.node,
      size: "two-thirds",
      lines: 7,
    });
    const top = panel({
      title: "Top workloads",
      source: this.top,
      view: (data) => topWorkloads(data, this.#days),
      size: "third",
      lines: 7,
    });
    const budgets = panel({
      title: "Budgets",
      source: this.budgets,
      view: budgetBars,
      size: "half",
    });
    const breakers = panel({
      title: "Circuit breakers",
      source: this.breakers,
      view: breakerList,
      size: "half",
    });
    const errors = panel({
      title: "Errors",
      source: this.errors,
      view: errorShares,
      size: "half",
      optional: true,
    });
    const watch = panel({
      title: "Error budgets",
      source: this.watch,
      view: errorBudgets,
      size: "half",
      optional: true,
    });
    [spend, coverage, chart, top, budgets, breakers, errors, watch].forEach((part) =>
      this.#own(part),
    );
    this.#undo.push(
      this.summary.subscribe((state) => this.#showKpis(kpis, about, state)),
      this.#app.status.subscribe(({ data }) => this.#showNotices(notices, data, null)),
      this.watch.subscribe(({ data }) => this.#showNotices(notices, null, data)),
    );
    replace(
      place,
      h(
        "div",
        { class: "page-head" },
        h("div", null, h("h1", { tabindex: -1 }, "Overview"), about),
        this.span.node,
      ),
      notices,
      h(
        "div",
        { class: "stack" },
        h("div", { class: "grid even" }, spend.node, coverage.node),
        kpis,
        h("div", { class: "grid even" }, chart.node, top.node),
        h("div", { class: "grid even" }, budgets.node, breakers.node, watch.node, errors.node),
        h(
          "section",
          { class: "card", "aria-labelledby": "live-title" },
          h(
            "div",
            { class: "card-head" },
            h("h2", { id: "live-title" }, "Live calls"),
            this.live.aside,
          ),
          h("div", { class: "card-body" }, this.live.node),
        ),
      ),
    );
  }

  #showKpis(place, about, { data, problem }) {
    if (data === undefined) {
      const cards = KPIS.map(() => h("div", { class: "card kpi" }, loading(3)));
      replace(
        place,
        problem === null
          ? cards
          : h(
              "div",
              { class: "card whole" },
              failure(problem, () => this.summary.refresh()),
            ),
      );
      return;
    }
    const { kpis, days, since, until } = data;
    const [first, last] = span({ since, until });
    const key = JSON.stringify([kpis, days, first, last]);
    if (key === this.shownKpis) {
      return;
    }
    this.shownKpis = key;
    replace(
      about,
      `${this.#app.scope} · ${date(`${first}T12:00:00`)} to ${date(`${last}T12:00:00`)}, days in ${zone()}`,
    );
    replace(
      place,
      KPIS.map((one) => kpi(one, kpis[one.key], days)),
    );
  }

  #showNotices(place, status, watch) {
    this.seen = { status: status ?? this.seen?.status, watch: watch ?? this.seen?.watch };
    const { status: now, watch: watched } = this.seen;
    const many = now?.warnings?.length ?? 0;
    const degraded =
      now?.state === "degraded"
        ? notice(
            "warn",
            h("b", null, "The agent does less than it was asked to. "),
            h("a", { href: "#/health" }, `See ${counted(many, "warning")} and what to do`),
            ".",
          )
        : many > 0
          ? notice("info", h("a", { href: "#/health" }, counted(many, "thing")), " to look at.")
          : null;
    const spikes = (watched?.spike ?? []).map((spike) =>
      notice(
        "warn",
        h(
          "b",
          null,
          h("a", { href: link(["workload", spike.workload]) }, spike.workload),
          ` spends ${spike.factor.toFixed(1)} times its usual rate`,
        ),
        ` since ${recent(spike.since)}: `,
        money(spike.rate_usd_per_hour),
        " an hour against ",
        money(spike.baseline_usd_per_hour),
        ".",
      ),
    );
    replace(place, degraded, spikes);
  }
}
