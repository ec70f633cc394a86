// Makes a call and sees it arrive, while nothing is asked for anew.
import assert from "node:assert/strict";

import { becomes, given, isClean, isLive, open, play } from "./browser.mjs";

await play(async (browser) => {
  const tab = await open(browser, given.url);
  const { page, seen } = tab;
  await isLive(page);
  await page.getByText("No calls yet").waitFor();
  const asked = () => seen.requests.filter((request) => request === "GET /api/calls").length;
  const before = asked();

  const first = await call();
  await page.waitForSelector(`tr[data-call="${first}"]`);
  assert.equal(asked(), before, "it came by itself");
  await becomes(page, `tr[data-call="${first}"]`, given.price);
  // The sums follow.
  await becomes(page, ".top-list", given.price);

  await page.getByRole("button", { name: "Pause" }).click();
  const second = await call();
  await page.getByText("1 more since").waitFor();
  assert.equal(await page.locator(`tr[data-call="${second}"]`).count(), 0);
  await page.getByRole("button", { name: "Resume" }).click();
  await page.waitForSelector(`tr[data-call="${second}"]`);
  isClean(tab);
  return [first, second];
});

/** One call by the gateway; its id. */
async function call() {
  const answer = await fetch(`${process.env.OPENAI_BASE_URL}/chat/completions`, {
    method: "POST",
    headers: { authorization: "Bearer sk-test", "content-type": "application/json" },
    body: JSON.stringify({ model: "gpt-4o-mini", messages: [] }),
  });
  assert.equal(answer.status, 200, await answer.clone().text());
  await answer.text();
  return answer.headers.get("x-weir-call-id");
}
