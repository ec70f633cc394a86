// Where no session is: how to get one.
import { h, replace } from "../dom.js";
import * as session from "../session.js";
import { copyable } from "../components/states.js";

/** Asks for a session; `entered()` is called once a token was given. `why` says what became of an
 *  earlier one. */
export function signIn(place, why, entered) {
  const complaint = h("p", { class: "error-text", role: "alert" });
  const input = h("input", {
    id: "token",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "token-help",
  });
  const form = h(
    "form",
    { class: "token-form", novalidate: true },
    h("label", { for: "token" }, "Token or address"),
    h(
      "div",
      { class: "token-row" },
      input,
      h("button", { type: "submit", class: "button primary" }, "Open"),
    ),
    h(
      "p",
      { id: "token-help", class: "muted small" },
      "It stays in this tab and goes to the agent alone.",
    ),
    complaint,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const found = session.tokenIn(input.value);
    if (found === null) {
      replace(
        complaint,
        "That is neither a token nor an address with one: copy the whole line that weir dashboard prints.",
      );
      input.focus();
      return;
    }
    session.keep(found);
    entered();
  });
  replace(
    place,
    h(
      "section",
      { class: "card sign-in", "aria-labelledby": "sign-in-title" },
      h("h1", { id: "sign-in-title", tabindex: -1 }, "Open a session"),
      why === null ? null : h("p", { class: "sign-in-why" }, why),
      h(
        "p",
        null,
        "The agent shows everyone what is theirs. It knows you by a session, which this command opens on the host it runs on:",
      ),
      copyable("weir dashboard"),
      h(
        "p",
        { class: "muted" },
        "Open the address it prints, or paste it here. As root or a member of the group weir you see everything; as another user, your own calls.",
      ),
      form,
    ),
  );
}
