// A real browser on the dashboard. What it complains about, and whom else it talks to, is kept: a script
// ends well only if both are nothing.
import assert from "node:assert/strict";

import { chromium } from "playwright-core";

/** Nothing here takes long; a loaded machine is slow. */
const PATIENCE = 60_000;

const OPTIONAL = ["/api/errors", "/api/watch"];

/** What the caller says, as JSON: `url`, and what the script wants to know. */
export const given = JSON.parse(process.argv[2]);

/** Runs `act(browser)`, and prints what it returns. */
export async function play(act) {
  const browser = await chromium.launch({
    executablePath: given.chromium,
    timeout: PATIENCE,
    // Its sandbox refuses root, and it would talk to its maker.
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--disable-background-networking",
    ],
  });
  try {
    console.log(JSON.stringify((await act(browser)) ?? null));
  } finally {
    await browser.close();
  }
}

/** A tab of its own that is at `address`, and what it did. */
export async function open(browser, address, { width = 1280, height = 900, theme = "light" } = {}) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: theme,
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const origin = new URL(address).origin;
  const seen = { complaints: [], elsewhere: [], requests: [] };
  page.on("console", (message) => {
    const { pathname } = new URL(message.location().url || address);
    // Panels whose route the agent has not are left out; the browser tells of the question.
    const isLeftOut = OPTIONAL.includes(pathname) && message.text().includes("404");
    if (["error", "warning"].includes(message.type()) && !isLeftOut) {
      seen.complaints.push(`${message.text()} (${message.location().url})`);
    }
  });
  page.on("pageerror", (fault) => seen.complaints.push(String(fault.stack ?? fault)));
  page.on("request", (request) => {
    const url = new URL(request.url());
    seen.requests.push(`${request.method()} ${url.pathname}`);
    if (url.origin !== origin && url.protocol !== "data:") {
      seen.elsewhere.push(request.url());
    }
  });
  await page.goto(address);
  return { page, seen };
}

/** The tab did nothing that it should not. */
export function isClean({ seen }) {
  assert.deepEqual(seen.complaints, [], "the console is silent");
  assert.deepEqual(seen.elsewhere, [], "nothing is asked of elsewhere");
}

/** Waits until the tab shows calls as they happen. */
export function isLive(page) {
  return page.waitForSelector("#live[data-state=live]");
}

/** The figure of the element there, as a machine reads it. */
export function value(page, selector) {
  return page.locator(`${selector} data`).first().getAttribute("value");
}

/** Waits until the figure there is this one. */
export async function becomes(page, selector, wanted) {
  await page.waitForSelector(`${selector} data[value="${wanted}"]`);
}
