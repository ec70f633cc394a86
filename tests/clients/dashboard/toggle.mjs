// Changes how far a policy goes: with the keyboard alone, then back with the pointer.
import assert from "node:assert/strict";

import { given, isClean, open, play } from "./browser.mjs";

await play(async (browser) => {
  const tab = await open(browser, given.url);
  const { page } = tab;
  await page.getByRole("link", { name: "Policies" }).click();
  const row = page.locator(`tr[data-policy="${given.policy}"]`);
  const button = row.getByRole("button", { name: `Change ${given.policy}` });
  await button.waitFor();
  if (given.keyboard) {
    await reach(page, `Change ${given.policy}`);
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    assert.equal(
      await row.locator("[data-reach]").getAttribute("data-reach"),
      "enforce",
      "nothing was sent",
    );
    await page.waitForFunction(
      (name) => document.activeElement?.getAttribute("aria-label") === name,
      `Change ${given.policy}`,
    );
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    // From enforce over canary to shadow.
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    await page.getByRole("button", { name: "Set to shadow" }).waitFor();
    await page.keyboard.press("Enter");
  } else {
    await button.click();
    await page.getByRole("button", { name: "Back to the configuration" }).click();
  }
  await row.locator(`[data-reach="${given.becomes}"]`).waitFor();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.locator(".toast").waitFor();
  assert.equal(await row.getByText("set by hand").count(), given.becomes === "enforce" ? 0 : 1);
  isClean(tab);
});

/** Tabs until what has this name has the focus, and can be seen to have it. */
async function reach(page, name) {
  for (let steps = 0; steps < 60; steps += 1) {
    await page.keyboard.press("Tab");
    const focused = await page.evaluate(() => {
      const { activeElement: it } = document;
      return {
        name: it?.getAttribute("aria-label"),
        outline: it === null ? "none" : getComputedStyle(it).outlineStyle,
      };
    });
    if (focused.name === name) {
      assert.notEqual(focused.outline, "none", "the focus is seen");
      return;
    }
  }
  assert.fail(`${name} is out of the keyboard's reach`);
}
