// The owner page, from the first key to the last.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { base, browse, open, options, serve, shot, until, violations } from "./harness.js";

const config = `version: 1
models:
  smollm2:
    file: ${base}.gguf
virtual_models:
  smollm2-full:
    base: smollm2
  smollm2-lite:
    base: smollm2
    utility: {sigma: 1.5}
`;

describe("the owner page", options, () => {
  let server, browser, admin, ada;
  before(async () => {
    server = await serve(["--config", "DIR/aim.yaml"], { "aim.yaml": config });
    browser = await browse();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  const asks = (key, path, body) => fetch(server.url + path, { method: body ? "POST" : "GET", headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" }, body: body ? JSON.stringify(body) : undefined });
  const chat = (key, tokens = 8) => asks(key, "/v1/chat/completions", { model: "smollm2-lite", messages: [{ role: "user", content: "Tell me a story." }], max_tokens: tokens });

  test("keys are made, shown once, and revoked", async () => {
    // The first key makes the server ask for one, which the page has not yet.
    const { page, clean, context } = await open(browser, server.url, { tab: "owner", allow: [/status of 40[01]/] });
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.getByText("There is no key").waitFor();
    const dialog = page.getByRole("dialog", { name: "New key" });
    const secret = page.getByRole("textbox", { name: "Secret" });

    await page.getByRole("button", { name: "New key" }).click();
    assert.ok(await dialog.getByRole("switch", { name: "Administers the server" }).isChecked(), "the first is an administrator's");
    await dialog.getByRole("button", { name: "Make the key" }).click();
    await dialog.getByText("A key needs a name.").waitFor();
    await dialog.getByRole("textbox", { name: /^Name/ }).fill("owner");
    assert.deepEqual(await violations(page), []);
    await dialog.getByRole("button", { name: "Make the key" }).click();
    admin = await secret.inputValue();
    assert.match(admin, /^aim-\w{43}$/);
    // It is not lost by a slip.
    await page.keyboard.press("Escape");
    await page.getByText("was not copied yet").waitFor();
    await page.getByRole("button", { name: "Copy the key" }).click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), admin);
    await page.getByRole("button", { name: "Use it in this page" }).click();
    await page.getByRole("row", { name: /owner \(this page\)/ }).waitFor();

    await page.getByRole("button", { name: "New key" }).click();
    assert.ok(!(await dialog.getByRole("switch", { name: "Administers the server" }).isChecked()));
    await dialog.getByRole("textbox", { name: /^Name/ }).fill("Ada");
    await dialog.getByRole("textbox", { name: /^Tiers/ }).fill("nothing-*");
    await dialog.getByRole("textbox", { name: /^Requests per minute/ }).fill("60");
    await dialog.getByRole("button", { name: "Make the key" }).click();
    await dialog.getByText(/No key was made: .*nothing-\*/).waitFor();
    assert.equal(await dialog.getByRole("textbox", { name: /^Requests per minute/ }).inputValue(), "60", "what was typed stays");
    await dialog.getByRole("textbox", { name: /^Tiers/ }).fill("");
    await dialog.getByRole("button", { name: "smollm2-lite" }).click();
    await dialog.getByRole("combobox", { name: "Expires" }).selectOption("in 30 days");
    await shot(page, "owner-form");
    await dialog.getByRole("button", { name: "Make the key" }).click();
    ada = await secret.inputValue();
    await page.getByRole("button", { name: "Copy the key" }).click();
    await page.getByRole("button", { name: "Done" }).click();
    await page.getByRole("row", { name: /Ada.*smollm2-lite.*60 requests\/min/ }).waitFor();
    assert.equal(await page.getByText(ada).count(), 0);

    const made = (await (await asks(admin, "/admin/keys")).json()).data.find((k) => k.name === "Ada");
    assert.deepEqual(made.grant, { models: ["smollm2-lite"], requests_per_minute: 60 });
    assert.equal((await chat(ada)).status, 200);
    assert.equal((await asks(ada, "/v1/chat/completions", { model: "smollm2-full", messages: [] })).status >= 400, true);
    clean();
    await context.close();
  });

  test("who does not administer is told what is needed", async () => {
    const { page, context } = await open(browser, server.url, { tab: "owner", key: ada, allow: [/status of 403/] });
    await page.getByText("This page needs an administrator's key").waitFor();
    assert.deepEqual(await violations(page), []);
    await shot(page, "owner-refused");
    await page.getByRole("button", { name: "Enter a key" }).click();
    const dialog = page.getByRole("dialog", { name: "API key" });
    await dialog.getByRole("textbox", { name: "Key" }).fill(admin);
    await dialog.getByRole("button", { name: "Use it" }).click();
    await page.getByRole("heading", { name: "Tiers" }).waitFor();
    await context.close();
  });

  test("what the engines do is seen while they do it", async () => {
    const { page, clean, context } = await open(browser, server.url, { tab: "owner", key: admin });
    const row = page.getByRole("region", { name: "Engines" }).getByRole("row", { name: /smollm2/ });
    await row.getByText("0 of 4").waitFor();
    const stop = new AbortController();
    const running = fetch(`${server.url}/v1/chat/completions`, {
      method: "POST", signal: stop.signal, headers: { Authorization: `Bearer ${admin}` },
      body: JSON.stringify({ model: "smollm2-full", messages: [{ role: "user", content: "Count." }], max_tokens: 2000, ignore_eos: true }),
    }).catch(() => {});
    await row.getByText("1 of 4").waitFor();
    await until(async () => Number(await row.getByRole("cell").last().innerText()) > 0, "there are tokens per second");
    await until(async () => Number(await row.getByRole("meter").getAttribute("aria-valuenow")) >= 0 && !/^0 of/.test(await row.getByText(/of [\d,]+ tokens/).innerText()), "the cache is in use");
    stop.abort();
    await running;
    await row.getByText("0 of 4").waitFor();
    await page.getByRole("img", { name: /^Throughput over the last five minutes/ }).waitFor();
    clean();
    await context.close();
  });

  test("the engines are asked only while somebody looks", async () => {
    const { page, context } = await open(browser, server.url, { tab: "owner", key: admin });
    let asked = 0;
    page.on("request", (r) => (asked += r.url().endsWith("/admin/live") ? 1 : 0));
    await until(() => asked >= 2, "they are asked again and again");
    await page.getByRole("tab", { name: "Chat" }).click();
    await page.getByRole("textbox", { name: "Message", exact: true }).waitFor();
    const before = asked;
    await page.waitForTimeout(4500);
    assert.equal(asked, before);
    await context.close();
  });

  test("usage is told by key, by tier and by day", async () => {
    assert.equal((await chat(ada)).status, 200);
    const { page, clean, context } = await open(browser, server.url, { tab: "owner", key: admin });
    const table = page.getByRole("region", { name: "Usage" });
    const [total] = (await (await asks(admin, "/admin/usage?by=model&model=smollm2-lite")).json()).data;
    const row = table.getByRole("row", { name: /^Ada/ });
    await row.waitFor();
    assert.match(await row.innerText(), new RegExp(`${total.prompt_tokens + total.completion_tokens}`));
    await page.getByRole("radio", { name: "By tier" }).check({ force: true });
    await table.getByRole("row", { name: /^smollm2-lite/ }).waitFor();
    await page.getByRole("radio", { name: "Today" }).check({ force: true });
    await table.getByRole("row", { name: /^smollm2-lite/ }).waitFor();
    await page.getByRole("radio", { name: "30 days" }).check({ force: true });
    await page.getByRole("img", { name: /Tokens by day over 30 days/ }).waitFor();
    clean();
    await context.close();
  });

  test("a tier is measured, with its progress, and then has a curve", async () => {
    const { page, clean, context } = await open(browser, server.url, { tab: "owner", key: admin, height: 1400 });
    const lite = page.getByRole("article", { name: "smollm2-lite" });
    await lite.getByText("1.50").waitFor();
    await lite.getByRole("button", { name: /^Measure/ }).click();
    await page.getByRole("dialog", { name: "Measure smollm2-lite?" }).getByRole("button", { name: "Measure" }).click();
    const runs = page.getByRole("region", { name: "Measurements" });
    await runs.getByRole("progressbar", { name: "Measuring smollm2-lite" }).waitFor();
    const other = page.getByRole("article", { name: "smollm2-full" }).getByRole("button", { name: /^Measure/ });
    assert.ok(await other.isDisabled(), "one runs at a time");
    assert.deepEqual(await violations(page), []);
    await until(async () => (await lite.getByRole("progressbar").count()) === 0 || Number(await lite.getByRole("progressbar").getAttribute("value")) > 0, "it goes on", 120_000);
    await runs.getByText("done").waitFor({ timeout: 280_000 });
    await lite.getByRole("img", { name: /^Level by noise:.*this tier stands at σ 1.50/ }).waitFor();
    await shot(page, "owner-measured");
    clean();
    await context.close();
  });

  test("a key is revoked, and what fails is told", async () => {
    const { page, clean, context } = await open(browser, server.url, { tab: "owner", key: admin, allow: [/status of 5/, /ERR_/] });
    await page.getByRole("button", { name: "Revoke Ada" }).click();
    const dialog = page.getByRole("dialog", { name: "Revoke Ada?" });
    await dialog.getByRole("button", { name: "Cancel" }).click();
    assert.equal((await chat(ada)).status, 200);
    // A server that does not answer is told; what was shown stays.
    await page.route("**/admin/keys/*", (route) => route.fulfill({ status: 503, body: JSON.stringify({ error: { message: "the accounts are away", type: "service_unavailable_error", code: "accounts_unavailable", param: null } }) }));
    await page.getByRole("button", { name: "Revoke Ada" }).click();
    await dialog.getByRole("button", { name: "Revoke" }).click();
    await page.getByText("Ada is not revoked: the accounts are away").waitFor();
    await page.unroute("**/admin/keys/*");
    await page.getByRole("button", { name: "Revoke Ada" }).click();
    await dialog.getByRole("button", { name: "Revoke" }).click();
    await page.getByText("Ada is revoked.").waitFor();
    assert.equal((await chat(ada)).status, 401);
    await page.getByRole("switch", { name: /Expired and revoked/ }).check({ force: true });
    await page.getByRole("region", { name: "API keys" }).getByRole("row", { name: /Ada.*revoked/ }).waitFor();
    await page.route("**/admin/live", (route) => route.abort());
    await page.getByText(/What the server does cannot be brought up to date/).waitFor();
    await page.unroute("**/admin/live");
    await page.getByText(/What the server does cannot be brought up to date/).waitFor({ state: "detached" });
    clean();
    await context.close();
  });
});
