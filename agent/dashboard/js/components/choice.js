// One of a few: buttons side by side, of which one is chosen.
import { h } from "../dom.js";

/** `options` are `[value, text]`; `chosen(value)` hears a choice. */
export function choice(label, options, value, chosen) {
  const buttons = options.map(([option, text]) => {
    const button = h("button", { type: "button", data: { key: `choice-${option}` } }, text);
    button.addEventListener("click", () => chosen(option));
    return [option, button];
  });
  const node = h(
    "div",
    { class: "choice", role: "group", "aria-label": label },
    buttons.map(([, button]) => button),
  );
  const show = (now) => {
    for (const [option, button] of buttons) {
      button.setAttribute("aria-pressed", String(option === now));
    }
  };
  show(value);
  return { node, show };
}
