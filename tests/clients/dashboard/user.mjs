// A user's session: what is theirs and no more. Before it, nobody's.
import assert from "node:assert/strict";

import { given, isClean, isLive, open, play } from "./browser.mjs";

await play(async (browser) => {
  const { origin } = new URL(given.url);
  const nobody = await open(browser, `${origin}/`);
  await nobody.page.getByText("weir dashboard").first().waitFor();
  await nobody.page.getByLabel("Token or address").fill("nonsense");
  await nobody.page.getByRole("button", { name: "Open" }).click();
  await nobody.page.getByText("neither a token nor an address").waitFor();
  assert.deepEqual(
    [...new Set(nobody.seen.requests.filter((request) => request.includes("/api/")))],
    ["GET /api/session"],
  );
  // The whole address is as good as the token in it.
  await nobody.page.getByLabel("Token or address").fill(given.url);
  await nobody.page.getByRole("button", { name: "Open" }).click();
  await isLive(nobody.page);
  isClean(nobody);
  await nobody.page.context().close();

  const tab = await open(browser, given.url);
  const { page } = tab;
  await isLive(page);
  await page.waitForSelector(".live-calls tr[data-call]");
  const calls = await page
    .locator(".live-calls tr[data-call]")
    .evaluateAll((rows) => rows.map((row) => row.dataset.call));
  assert.deepEqual(calls, given.own, "their calls alone");
  await page.waitForSelector(".top-list li");
  const requests = await page
    .locator("[data-kpi=total_requests] data")
    .first()
    .getAttribute("value");
  assert.equal(requests, String(given.own.length));

  await page.getByRole("link", { name: "Policies" }).click();
  await page.waitForSelector(`tr[data-policy="${given.policy}"]`);
  assert.equal(await page.getByRole("button", { name: /^Change/ }).count(), 0, "no toggles");
  assert.equal(
    await page.getByRole("columnheader", { name: "Acted" }).count(),
    0,
    "no counts of others",
  );
  isClean(tab);

  // Asked for all the same, the agent refuses; the browser's console tells of both.
  const status = await page.evaluate(async (policy) => {
    const headers = {
      Authorization: `Bearer ${sessionStorage.getItem("weir-session")}`,
      "Content-Type": "application/json",
    };
    const answer = await fetch(`/api/policies/${policy}`, {
      method: "PUT",
      headers,
      body: '{"enforcement":"off"}',
    });
    return answer.status;
  }, given.policy);
  assert.equal(status, 403);
  await page.goto(`${origin}/#/call/${given.others}`);
  await page.getByText("no call with this id is known").waitFor();

  // Who leaves has ended the session, here and at the agent.
  await page.getByRole("button", { name: "Leave" }).click();
  await page.getByLabel("Token or address").waitFor();
  await page.getByLabel("Token or address").fill(given.url);
  await page.getByRole("button", { name: "Open" }).click();
  await page.getByText("The session has ended").waitFor();
});
