// Begins: finds out who asks, then shows pages and keeps the frame around them up to date.
import * as api from "./api.js";
import * as session from "./session.js";
import * as theme from "./theme.js";
import { h, replace } from "./dom.js";
import { Router } from "./router.js";
import { Source, paced } from "./source.js";
import { Stream } from "./stream.js";
import { recent } from "./format/time.js";
import { failure, loading } from "./components/states.js";
import { call } from "./pages/call.js";
import { health } from "./pages/health.js";
import { overview } from "./pages/overview.js";
import { policies } from "./pages/policies.js";
import { signIn } from "./pages/signin.js";
import { workload } from "./pages/workload.js";

const STATUS_PACE = 2000;
const STATUS_EVERY = 30_000;
const ENDED = "The session has ended: sessions last 12 hours, and end with the agent.";

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const live = document.getElementById("live");
const mode = document.getElementById("mode");
const foot = document.getElementById("foot");

/** What is shown now and has to be ended before something else is. */
let shown = null;

async function begin() {
  shown?.end();
  shown = null;
  replace(main, loading(6));
  let who;
  try {
    who = await api.get("/api/session");
  } catch (problem) {
    frame(false);
    if (problem.isDenied) {
      ask(ENDED);
    } else {
      replace(main, h("section", { class: "card whole" }, failure(problem, begin)));
    }
    return;
  }
  if (who.role === "nobody") {
    frame(false);
    ask(session.current() === null ? null : ENDED);
  } else {
    shown = open(who);
  }
}

function ask(why) {
  session.forget();
  document.title = "Weir";
  signIn(main, why, begin);
}

/** Shows the pages to whoever that is. */
function open(who) {
  const isAdministrator = who.role === "administrator";
  const stream = new Stream();
  const status = new Source((signal) => api.get("/api/status", {}, signal));
  const app = {
    stream,
    status,
    isAdministrator,
    scope: isAdministrator ? "All calls of this host" : `Calls of user ${who.user}`,
  };
  const pages = new Map([
    ["", { name: "overview", title: "Overview", mount: overview(app) }],
    ["workload", { name: "overview", title: "Workload", mount: workload(app) }],
    ["call", { name: "overview", title: "Call", mount: call(app) }],
    ["policies", { name: "policies", title: "Policies", mount: policies(app) }],
    ["health", { name: "health", title: "Health", mount: health(app) }],
    [null, { name: "", title: "No such page", mount: missing }],
  ]);
  const router = new Router(pages, main, (page, route) => {
    document.title = `${route.parts[1] ?? page.title} · Weir`;
    for (const item of nav.querySelectorAll("a")) {
      if (item.dataset.page === page.name) {
        item.setAttribute("aria-current", "page");
      } else {
        item.removeAttribute("aria-current");
      }
    }
  });
  const moved = () => router.show();
  const denied = paced(1000, check);
  const soon = paced(STATUS_PACE, () => status.refresh());
  addEventListener("hashchange", moved);
  document.addEventListener(api.DENIED, denied);
  stream.onState(showLive);
  for (const kind of ["mode", "capture", "config", "breaker", "policy", "budget", "live"]) {
    stream.on(kind, soon);
  }
  status.subscribe(({ data }) => showMode(data));
  const timer = setInterval(soon, STATUS_EVERY);
  frame(true);
  showFoot(who, status);
  status.refresh();
  stream.run(denied);
  router.show();
  return {
    end() {
      clearInterval(timer);
      removeEventListener("hashchange", moved);
      document.removeEventListener(api.DENIED, denied);
      denied.cancel();
      soon.cancel();
      stream.close();
      router.clear();
      status.dispose();
    },
  };
}

/** A refusal may only mean that this is not for users: asks who one is before giving up. */
async function check() {
  try {
    const who = await api.get("/api/session");
    if (who.role !== "nobody") {
      return;
    }
  } catch (problem) {
    if (!problem.isDenied) {
      return;
    }
  }
  shown?.end();
  shown = null;
  frame(false);
  ask(ENDED);
}

function frame(isOpen) {
  for (const part of [nav, live, foot]) {
    part.hidden = !isOpen;
  }
  mode.hidden = true;
}

const LIVE = {
  connecting: ["Connecting", "plain"],
  live: ["Live", "good"],
  waiting: ["Reconnecting", "warn"],
  ended: ["Not live", "plain"],
};

function showLive(state) {
  const [word, tone] = LIVE[state];
  live.dataset.tone = tone;
  live.dataset.state = state;
  replace(live, h("span", { class: "dot", "aria-hidden": "true" }), word);
}

function showMode(status) {
  if (status === undefined) {
    return;
  }
  mode.hidden = false;
  const { effective, wanted } = status.mode;
  mode.dataset.tone = status.state === "healthy" ? "plain" : "warn";
  mode.title =
    effective === wanted
      ? `Mode ${effective}, ${status.state}`
      : `Mode ${effective}, not ${wanted}`;
  replace(
    mode,
    h("span", { class: "unseen" }, "Mode "),
    effective,
    status.state === "healthy" ? null : ", degraded",
  );
}

function showFoot(who, status) {
  const about = h("li");
  status.subscribe(({ data }) => {
    if (data !== undefined) {
      const prices = data.price_version === null ? "" : `, prices of ${data.price_version}`;
      replace(about, `Weir ${data.version}${prices}`);
    }
  });
  const leave = async () => {
    // Ended at the agent too; where it cannot be asked, the token is at least nowhere here.
    await api.end().catch(() => {});
    session.forget();
    begin();
  };
  replace(
    foot,
    h(
      "ul",
      null,
      about,
      h(
        "li",
        null,
        who.role === "administrator" ? "You are an administrator" : `You are user ${who.user}`,
      ),
      who.expires_at === null ? null : h("li", null, `session until ${recent(who.expires_at)}`),
      h("li", null, h("button", { type: "button", class: "link", on: { click: leave } }, "Leave")),
      h("li", null, h("a", { href: "/assets/LICENSES.txt" }, "Licences")),
    ),
  );
}

function missing(place) {
  replace(
    place,
    h(
      "section",
      { class: "card whole" },
      h("h1", { tabindex: -1 }, "There is no such page"),
      h("p", null, h("a", { href: "#/" }, "To the overview")),
    ),
  );
  return { dispose() {} };
}

theme.attach(document.getElementById("theme"));
// A plain link would change the address, which names the page.
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
// A new session's address, opened in a tab that has an old one.
addEventListener("hashchange", () => {
  if (session.takeFromAddress()) {
    begin();
  }
});
session.takeFromAddress();
begin();
