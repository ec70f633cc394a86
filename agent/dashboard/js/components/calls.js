// Single calls in a table, and the ones that happen now.
import { h, replace } from "../dom.js";
import { link } from "../router.js";
import { count, milliseconds, short } from "../format/numbers.js";
import { outcome } from "./pill.js";
import { empty } from "./states.js";
import { table } from "./table.js";
import { moment, money } from "./value.js";

const SENT = [
  "input_tokens",
  "cache_read_tokens",
  "cache_write_5m_tokens",
  "cache_write_1h_tokens",
  "audio_input_tokens",
];
const RECEIVED = ["output_tokens", "reasoning_tokens", "audio_output_tokens"];

/** Tokens sent, cached ones too. */
export function sent(row) {
  return SENT.reduce((sum, kind) => sum + row[kind], 0);
}

/** Tokens received. */
export function received(row) {
  return RECEIVED.reduce((sum, kind) => sum + row[kind], 0);
}

/** A table of calls, newest first. On a narrow screen the time stands below the workload. */
export function callTable(caption, calls, { withWorkload = true } = {}) {
  const when = (call, place) =>
    h(
      "a",
      { href: link(["call", call.call_id]), data: { key: `${place}-${call.call_id}` } },
      moment(call.started_at),
    );
  const whose = (call) =>
    h(
      "a",
      {
        class: "name",
        href: link(["workload", call.workload]),
        data: { key: `of-${call.call_id}` },
      },
      call.workload,
    );
  const columns = [
    { title: "Time", extra: withWorkload, cell: (call) => when(call, "call") },
    {
      title: "Workload",
      wide: true,
      hidden: !withWorkload,
      cell: (call) => [whose(call), h("span", { class: "narrow small" }, when(call, "below"))],
    },
    {
      title: "Model",
      wide: true,
      extra: withWorkload,
      cell: (call) =>
        h("span", { class: "name" }, call.model_served ?? call.model ?? call.operation),
    },
    { title: "Result", cell: outcome },
    {
      title: "Tokens",
      number: true,
      extra: true,
      cell: (call) =>
        h(
          "span",
          { title: `${count(sent(call))} sent, ${count(received(call))} received` },
          `${short(sent(call))} → ${short(received(call))}`,
        ),
    },
    { title: "Took", number: true, extra: true, cell: (call) => milliseconds(call.latency_ms) },
    { title: "Cost", number: true, cell: (call) => money(call.cost_usd) },
  ];
  return table(caption, columns, calls, (call) => ({ data: { call: call.call_id } }));
}

/** The newest calls, and each further one as it ends. A pause keeps the table still: what comes
 *  meanwhile is shown at its end. */
export class LiveCalls {
  #most;
  #calls = [];
  #seen = new Set();
  #paused = false;
  #waiting = 0;
  #body = h("div", { class: "live-calls" });
  #note = h("span", { class: "muted small" });
  #button = h("button", {
    type: "button",
    class: "button small",
    on: { click: () => this.#toggle() },
  });
  #fresh = null;

  constructor(most) {
    this.#most = most;
    this.node = this.#body;
    this.aside = h("div", { class: "aside" }, this.#note, this.#button);
    this.#showButton();
  }

  /** Calls of the past, in the order they began. */
  fill(calls) {
    const known = this.#calls.filter(
      (call) => !calls.some((other) => other.call_id === call.call_id),
    );
    this.#calls = [...calls, ...known];
    this.#calls.sort((a, b) => (a.call_id < b.call_id ? 1 : -1));
    this.#cut();
    this.#show();
  }

  /** A call that just ended. */
  add(call) {
    if (this.#seen.has(call.call_id)) {
      return;
    }
    this.#calls = [call, ...this.#calls];
    this.#cut();
    if (this.#paused) {
      this.#waiting += 1;
      this.#showButton();
      return;
    }
    this.#fresh = call.call_id;
    this.#show();
  }

  #cut() {
    this.#calls.length = Math.min(this.#calls.length, this.#most);
    this.#seen = new Set(this.#calls.map((call) => call.call_id));
  }

  #toggle() {
    this.#paused = !this.#paused;
    this.#waiting = 0;
    this.#showButton();
    if (!this.#paused) {
      this.#show();
    }
  }

  #showButton() {
    replace(this.#button, this.#paused ? "Resume" : "Pause");
    replace(this.#note, this.#paused ? `${count(this.#waiting)} more since` : "");
  }

  #show() {
    if (this.#calls.length === 0) {
      replace(
        this.#body,
        empty(
          "No calls yet",
          "They appear here as they end. Who talks to providers, and how far that is metered, says:",
          "weir ps",
        ),
      );
      return;
    }
    const key = this.#body.contains(document.activeElement)
      ? document.activeElement.dataset.key
      : undefined;
    replace(this.#body, callTable("The newest calls", this.#calls));
    if (key !== undefined) {
      this.#body.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
    }
    if (this.#fresh !== null) {
      this.#body.querySelector(`[data-call="${CSS.escape(this.#fresh)}"]`)?.classList.add("fresh");
      this.#fresh = null;
    }
  }
}
