// The dialog that changes how far a policy goes. Nothing is sent before it is confirmed.
import { h, replace, unique } from "../dom.js";
import { failure } from "./states.js";
import { reach } from "./pill.js";

const STEPS = [
  ["enforce", "Enforce", "It acts on every call it is about."],
  [
    "canary",
    "Canary",
    "It acts for a part of the workloads, always the same ones, and only decides for the others.",
  ],
  ["shadow", "Shadow", "It decides and is counted; calls go through."],
  ["off", "Off", "It does nothing."],
];
const PART = 10;

/** Asks for another reach of `policy`; `apply(reach)` sends it, `null` gives the policy back to the
 *  configuration. Resolves when the dialog is gone, with what was set or undefined. */
export function changeReach(policy, acting, apply) {
  const [kind, part] = policy.enforcement.split(":");
  const title = unique("title");
  const complaint = h("div");
  const percent = h("input", {
    type: "number",
    id: unique("percent"),
    min: 0,
    max: 100,
    step: 1,
    required: true,
    value: part ?? PART,
    disabled: kind !== "canary",
  });
  const name = unique("reach");
  const radios = STEPS.map(([value, text, about]) =>
    h(
      "label",
      { class: "option" },
      h("input", {
        type: "radio",
        name,
        value,
        checked: value === kind,
        autofocus: value === kind,
      }),
      h("span", null, h("b", null, text), h("span", { class: "muted small" }, about)),
    ),
  );
  const share = h(
    "label",
    { class: "percent", for: percent.id },
    "Percent of the workloads",
    percent,
  );
  radios[1].after(share);
  const confirm = h("button", { type: "submit", class: "button primary" });
  const cancel = h("button", { type: "button", class: "button" }, "Cancel");
  const reset = policy.overridden
    ? h(
        "button",
        { type: "button", class: "button", data: { act: "reset" } },
        `Back to the configuration (${policy.configured})`,
      )
    : null;
  const form = h(
    "form",
    { novalidate: true },
    h("h2", { id: title }, "Change enforcement"),
    h(
      "p",
      { class: "dialog-about" },
      h("code", null, policy.name),
      " is set to ",
      reach(policy.enforcement),
      " now.",
    ),
    acting
      ? null
      : h(
          "p",
          { class: "muted small" },
          "Policies do not act in this mode: until it is enforce, all of them only decide.",
        ),
    h(
      "fieldset",
      null,
      h("legend", { class: "unseen" }, "How far it goes"),
      radios[0],
      radios[1],
      share,
      radios[2],
      radios[3],
    ),
    complaint,
    h("div", { class: "dialog-end" }, reset, cancel, confirm),
  );
  const dialog = h("dialog", { "aria-labelledby": title }, form);

  const chosen = () => {
    const word = form.querySelector("input[type=radio]:checked")?.value ?? kind;
    return word === "canary" ? `canary:${percent.value}` : word;
  };
  const show = () => {
    const word = chosen();
    percent.disabled = !word.startsWith("canary");
    share.hidden = percent.disabled;
    confirm.disabled =
      word === policy.enforcement || (!percent.disabled && !percent.checkValidity());
    replace(
      confirm,
      word === policy.enforcement
        ? "Nothing to change"
        : `Set to ${word.replace(":", " ")}${word.startsWith("canary") ? "%" : ""}`,
    );
  };
  form.addEventListener("input", show);
  show();

  return new Promise((over) => {
    const send = async (wanted) => {
      const buttons = form.querySelectorAll("button");
      buttons.forEach((button) => {
        button.disabled = true;
      });
      try {
        await apply(wanted);
        dialog.close("done");
        over(wanted);
      } catch (problem) {
        buttons.forEach((button) => {
          button.disabled = false;
        });
        show();
        replace(complaint, failure(problem, null));
      }
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!confirm.disabled) {
        send(chosen());
      }
    });
    cancel.addEventListener("click", () => dialog.close());
    reset?.addEventListener("click", () => send(null));
    dialog.addEventListener("close", () => {
      dialog.remove();
      over(undefined);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
