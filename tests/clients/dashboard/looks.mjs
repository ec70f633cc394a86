// Every page in both themes at one width: nothing scrolls sideways, everything has a name, text can
// be read, and the pictures are there to be looked at.
import assert from "node:assert/strict";

import { given, isClean, isLive, open, play } from "./browser.mjs";

const { width, height } = given;
const PAGES = [
  ["overview", "#/", "Overview", ".chart canvas"],
  ["workload", `#/workload/${encodeURIComponent(given.workload)}`, given.workload, ".chart canvas"],
  ["policies", "#/policies", "Policies", "tr[data-policy]"],
  ["call", `#/call/${given.call}`, `Call ${given.call}`, "dd data.figure-value"],
  ["health", "#/health", "Health", ".facts .pill"],
  ["nowhere", "#/no-such-page", "There is no such page", "main a"],
];

await play(async (browser) => {
  for (const theme of ["light", "dark"]) {
    const tab = await open(browser, given.url, { width, height, theme });
    const { page } = tab;
    await isLive(page);
    assert.equal(
      await page.evaluate(() => document.documentElement.dataset.theme),
      theme,
      "as the system prefers",
    );
    for (const [name, address, title, ready] of PAGES) {
      await page.evaluate((hash) => {
        location.hash = hash;
      }, address);
      await page.locator("h1", { hasText: title }).waitFor();
      await page.waitForSelector(ready);
      await page.waitForFunction(() =>
        [...document.querySelectorAll(".skeleton")].every((it) => it.getClientRects().length === 0),
      );
      const where = `${name}-${width}-${theme}`;
      await page.screenshot({ path: `${given.pictures}/${where}.png`, fullPage: true });
      assert.deepEqual(await page.evaluate(faults), [], where);
    }
    if (theme === "dark") {
      await switched(page);
    }
    await dialog(page, `${given.pictures}/dialog-${width}-${theme}.png`);
    isClean(tab);
    await page.context().close();

    const nobody = await open(browser, `${new URL(given.url).origin}/`, { width, height, theme });
    await nobody.page.getByLabel("Token or address").waitFor();
    await nobody.page.screenshot({ path: `${given.pictures}/sign-in-${width}-${theme}.png` });
    assert.deepEqual(await nobody.page.evaluate(faults), [], `sign-in-${width}-${theme}`);
    await nobody.page.context().close();
  }
});

/** The switch holds over a reload, against what the system prefers. */
async function switched(page) {
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  await page.getByRole("button", { name: "Switch to light colours" }).click();
  assert.equal(await theme(), "light");
  await page.reload();
  assert.equal(await theme(), "light");
  await page.getByRole("button", { name: "Switch to dark colours" }).click();
  assert.equal(await theme(), "dark");
}

/** The dialog that changes a policy. */
async function dialog(page, picture) {
  await page.goto(`${new URL(page.url()).origin}/#/policies`);
  await page
    .getByRole("button", { name: /^Change/ })
    .first()
    .click();
  await page.getByRole("dialog").waitFor();
  await page.getByRole("radio", { name: "Canary" }).check();
  await page.screenshot({ path: picture });
  assert.deepEqual(await page.evaluate(faults), [], picture);
  await page.keyboard.press("Escape");
}

/** What is wrong with the page as it stands. Runs in it. */
function faults() {
  const found = [];
  const { documentElement: root } = document;
  if (root.scrollWidth > root.clientWidth) {
    const wide = [...document.querySelectorAll("main *, header *")].filter(
      (it) =>
        it.getBoundingClientRect().right > root.clientWidth + 0.5 &&
        it.closest(".table-frame") === null,
    );
    found.push(`scrolls sideways: ${wide.slice(0, 5).map(told)}`);
  }
  if (root.lang === "" || document.title === "") {
    found.push("no language or title");
  }
  if ([...document.querySelectorAll("h1")].filter(isShown).length !== 1) {
    found.push("not one h1");
  }
  let level = 0;
  for (const heading of document.querySelectorAll("main h1, main h2, main h3")) {
    const own = Number(heading.tagName[1]);
    if (isShown(heading) && own > level + 1 && level > 0) {
      found.push(`skips a level: ${told(heading)}`);
    }
    level = isShown(heading) ? own : level;
  }
  const ids = [...document.querySelectorAll("[id]")].map((it) => it.id);
  found.push(...ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => `twice: #${id}`));
  for (const it of document.querySelectorAll(
    "a, button, input, [role=meter], [role=img], dialog, nav",
  )) {
    if (isShown(it) && name(it) === "") {
      found.push(`has no name: ${told(it)}`);
    }
  }
  for (const it of document.querySelectorAll("[aria-labelledby], [aria-describedby]")) {
    for (const id of [it.getAttribute("aria-labelledby"), it.getAttribute("aria-describedby")]) {
      if (id !== null && document.getElementById(id) === null) {
        found.push(`refers to nothing: ${told(it)}`);
      }
    }
  }
  for (const it of document.querySelectorAll("a[href], button, summary")) {
    if (it.tabIndex < 0) {
      found.push(`out of the keyboard's reach: ${told(it)}`);
    }
  }
  for (const it of document.querySelectorAll("img")) {
    if (!it.hasAttribute("alt")) {
      found.push(`no alternative: ${told(it)}`);
    }
  }
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const it = texts.currentNode.parentElement;
    if (
      texts.currentNode.data.trim() === "" ||
      !isShown(it) ||
      it.closest("[disabled], svg, .unseen, .skip, :disabled") !== null
    ) {
      continue;
    }
    const style = getComputedStyle(it);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const ratio = contrast(colour(style.color), ground(it));
    if (ratio < least) {
      found.push(`${ratio.toFixed(2)}:1 ${told(it)}`);
    }
  }
  return [...new Set(found)];

  function isShown(it) {
    return (
      it !== null && it.getClientRects().length > 0 && getComputedStyle(it).visibility !== "hidden"
    );
  }

  function name(it) {
    const by = it.getAttribute("aria-labelledby");
    const label = it.labels?.[0]?.textContent;
    return (
      it.getAttribute("aria-label") ??
      (by === null ? null : document.getElementById(by)?.textContent) ??
      label ??
      it.textContent
    ).trim();
  }

  function told(it) {
    return `<${it.tagName.toLowerCase()} class="${it.getAttribute("class") ?? ""}"> ${it.textContent.trim().slice(0, 40)}`;
  }

  // Any colour the style may have, as the screen has it.
  function colour(text) {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  }

  function ground(it) {
    const layers = [];
    for (let at = it; at !== null; at = at.parentElement) {
      const layer = colour(getComputedStyle(at).backgroundColor);
      layers.push(layer);
      if (layer[3] === 1) {
        break;
      }
    }
    let [red, green, blue] = [255, 255, 255];
    for (const [r, g, b, alpha] of layers.reverse()) {
      red += (r - red) * alpha;
      green += (g - green) * alpha;
      blue += (b - blue) * alpha;
    }
    return [red, green, blue, 1];
  }

  function contrast(one, other) {
    const light = ([red, green, blue]) => {
      const [r, g, b] = [red, green, blue].map((part) => {
        const share = part / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  }
}
