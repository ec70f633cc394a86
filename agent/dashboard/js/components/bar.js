// Lengths: how much of something is used, and shares of a whole.
import { h } from "../dom.js";

/** A share from 0 to 1, for the eye beside its figure. */
export function bar(share, tone = "accent") {
  const width = `${Math.min(100, Math.max(0, share * 100))}%`;
  return h(
    "span",
    { class: "bar", "aria-hidden": "true" },
    h("span", { class: "bar-fill", data: { tone }, vars: { "--width": width } }),
  );
}

/** How much of a limit is used, with marks at the percentages where people are told. */
export function gauge({ label, percent, text, tone, marks = [] }) {
  const width = `${Math.min(100, Math.max(0, percent))}%`;
  return h(
    "div",
    {
      class: "gauge",
      role: "meter",
      "aria-label": label,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": Math.min(100, percent),
      "aria-valuetext": text,
    },
    h("span", { class: "gauge-fill", data: { tone }, vars: { "--width": width } }),
    marks.map((mark) => h("span", { class: "gauge-mark", vars: { "--at": `${mark}%` } })),
  );
}

/** Parts of a whole in one bar, with a legend. Parts are `{ name, size, shown, colour }`. */
export function parts(entries) {
  const given = entries.filter((entry) => entry.size > 0);
  const whole = given.reduce((sum, entry) => sum + entry.size, 0);
  return h(
    "div",
    { class: "parts" },
    h(
      "div",
      { class: "parts-bar", "aria-hidden": "true" },
      given.map((entry) =>
        h("span", {
          vars: { "--width": `${(entry.size / whole) * 100}%`, "--colour": `var(${entry.colour})` },
        }),
      ),
    ),
    h(
      "ul",
      { class: "legend" },
      given.map((entry) =>
        h(
          "li",
          null,
          h("span", { class: "swatch", vars: { "--colour": `var(${entry.colour})` } }),
          h("span", null, entry.name),
          h("span", { class: "muted" }, entry.shown),
        ),
      ),
    ),
  );
}
