// What stands where there is nothing to show: not yet, nothing, or a failure. Each says what to do.
import { h } from "../dom.js";
import { icon } from "./icon.js";

/** While the first answer is under way. */
export function loading(lines = 3) {
  const bars = Array.from({ length: lines }, () => h("span", { class: "bone" }));
  return h("div", { class: "skeleton" }, h("span", { class: "unseen" }, "Loading"), bars);
}

/** Nothing there; `command` is what changes that. */
export function empty(title, text = null, command = null) {
  return h(
    "div",
    { class: "empty" },
    h("p", { class: "empty-title" }, title),
    text === null ? null : h("p", { class: "muted" }, text),
    command === null ? null : copyable(command),
  );
}

/** It could not be had. */
export function failure(problem, again) {
  return h(
    "div",
    { class: "failure", role: "alert" },
    h("p", { class: "failure-title" }, icon("warning"), problem.message),
    problem.fix === null || problem.fix === undefined ? null : copyable(problem.fix),
    again === null
      ? null
      : h("button", { type: "button", class: "button", on: { click: again } }, "Try again"),
  );
}

/** A command to copy. */
export function copyable(command) {
  const button = h("button", { type: "button", class: "copy", "aria-label": `Copy: ${command}` });
  const show = (name) => button.replaceChildren(icon(name));
  show("copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command);
      show("check");
      setTimeout(show, 1500, "copy");
    } catch {
      // Not permitted here: the text can still be selected.
      getSelection().selectAllChildren(button.previousElementSibling);
    }
  });
  return h("span", { class: "command" }, h("code", null, command), button);
}

/** A message across the page. `tone` is "info", "warn" or "bad". */
export function notice(tone, ...children) {
  return h(
    "div",
    { class: "notice", data: { tone } },
    tone === "info" ? null : icon("warning"),
    h("div", { class: "notice-text" }, children),
  );
}
