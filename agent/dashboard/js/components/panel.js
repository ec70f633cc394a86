// A card on a page that shows an answer, and says so where there is none yet, none any more, or none
// at all.
import { h, replace, unique } from "../dom.js";
import { clock } from "../format/time.js";
import { failure, loading } from "./states.js";

const all = (data) => data;

/** `view(part)` makes the body of what `pick` takes of an answer, anew where that has changed, and may
 *  return `{ node, dispose }`. With `optional`, a panel whose route does not exist stays away. */
export function panel({
  title,
  source,
  view,
  pick = all,
  aside = null,
  size = "",
  lines = 4,
  optional = false,
}) {
  const heading = unique("panel");
  const body = h("div", { class: "card-body" });
  const stale = h("p", { class: "stale", hidden: true });
  const node = h(
    "section",
    { class: `card ${size}`, "aria-labelledby": heading, hidden: optional },
    h("div", { class: "card-head" }, h("h2", { id: heading }, title), aside),
    stale,
    body,
  );
  let shown = null;
  let made = null;
  const end = () => {
    made?.dispose?.();
    made = null;
  };
  replace(body, loading(lines));
  const forget = source.subscribe(({ data, problem, at }) => {
    if (optional && (problem?.status === 404 || (data === undefined && problem === null))) {
      node.hidden = true;
      return;
    }
    node.hidden = false;
    stale.hidden = problem === null || data === undefined;
    if (problem !== null && data !== undefined) {
      replace(stale, `Not updated since ${clock(at)}. ${problem.message}`);
    } else if (problem !== null) {
      end();
      shown = null;
      replace(
        body,
        failure(problem, () => source.refresh()),
      );
      return;
    }
    // The same answer again changes nothing: neither focus nor what is being read.
    const part = data === undefined ? undefined : pick(data);
    const key = part === undefined ? null : JSON.stringify(part);
    if (key === null || key === shown) {
      return;
    }
    shown = key;
    const focused = body.contains(document.activeElement)
      ? document.activeElement.closest("[data-key]")?.dataset.key
      : undefined;
    const open = [...body.querySelectorAll("details[open]")].map((details) => details.dataset.key);
    end();
    const result = view(part);
    made = result instanceof Node ? { node: result } : result;
    replace(body, made.node);
    for (const details of body.querySelectorAll("details")) {
      details.open = open.includes(details.dataset.key);
    }
    if (focused !== undefined) {
      body.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    }
  });
  return {
    node,
    dispose() {
      forget();
      end();
    },
  };
}

/** A page whose panels all show one answer: where there is none, it says so once. */
export function orFailure(source, node) {
  const place = h("div", null, node);
  const forget = source.subscribe(({ data, problem }) => {
    const isLost = data === undefined && problem !== null;
    if (isLost) {
      replace(
        place,
        h(
          "section",
          { class: "card whole" },
          failure(problem, () => source.refresh()),
        ),
      );
    } else if (!place.contains(node)) {
      replace(place, node);
    }
  });
  return { node: place, dispose: forget };
}
