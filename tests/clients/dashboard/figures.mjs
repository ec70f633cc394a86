// Reads the figures off the pages, for the caller to compare with the ledger's.
import assert from "node:assert/strict";

import { given, isClean, isLive, open, play, value } from "./browser.mjs";

await play(async (browser) => {
  const tab = await open(browser, given.url);
  const { page } = tab;
  await isLive(page);
  assert.equal(new URL(page.url()).hash, "#/", "the token is not in the address");
  await page.waitForSelector("[data-figure=today] data");
  await page.waitForSelector(".top-list li");
  await page.waitForSelector(".chart canvas");
  const top = {};
  for (const row of await page.locator(".top-list li").all()) {
    top[await row.getAttribute("data-workload")] = await row.locator("data").getAttribute("value");
  }
  const figures = {
    today: await value(page, "[data-figure=today]"),
    month: await value(page, "[data-figure=month]"),
    requests: await value(page, "[data-kpi=total_requests]"),
    tokens: await value(page, "[data-kpi=total_tokens]"),
    success: await value(page, "[data-kpi=success_rate]"),
    kpis: await page.locator("[data-kpi]").count(),
    top,
    byWorkload: await table(page),
    budget: await page.locator(".budget-list .gauge").getAttribute("aria-valuetext"),
  };
  await page.getByRole("button", { name: "Model" }).click();
  await page.waitForFunction(
    (name) => document.querySelector("table.figures")?.textContent.includes(name),
    given.model,
  );
  figures.byModel = await table(page);

  await page.getByRole("link", { name: given.workload, exact: true }).first().click();
  await page.waitForSelector("[data-figure=cost] data");
  assert.equal(await page.locator("h1").innerText(), given.workload);
  figures.workload = {
    cost: await value(page, "[data-figure=cost]"),
    calls: await value(page, "[data-figure=calls]"),
    tokens: await value(page, "[data-figure=tokens]"),
    samples: await page.getByText(/^Of \d+ calls?, \d+ streams?$/).innerText(),
  };

  await page.locator(`tr[data-call="${given.call}"] a`).first().click();
  await page.getByRole("heading", { name: "Decisions" }).waitFor();
  await page.waitForSelector("dd data.figure-value");
  figures.call = {
    cost: await value(page, "dd"),
    title: await page.locator("h1").innerText(),
    rules: await page.locator("section:has(h2:text-is('Decisions')) tbody tr").count(),
  };

  await page.getByRole("link", { name: "Health" }).click();
  await page.getByRole("heading", { name: "Kernel hooks" }).waitFor();
  await page.waitForSelector(".facts .pill");
  figures.hooks = await page.locator("section:has(h2:text-is('Kernel hooks')) tbody tr").count();
  isClean(tab);
  return figures;
});

/** The last line of the chart's table: names and exact sums. */
async function table(page) {
  const names = await page.locator("table.figures thead th").allTextContents();
  const sums = await page
    .locator("table.figures tfoot data")
    .evaluateAll((all) => all.map((one) => one.value));
  return Object.fromEntries(names.slice(1).map((name, at) => [name, sums[at]]));
}
