// The page as a whole: what it loads, how large it is, whether everyone can use it, and how it looks.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";

import { asking, base, browse, open, options, serve, shot, until, violations } from "./harness.js";

const tabs = ["chat", "compare", "focus", "inspect", "owner"];

/** What makes the page of a test have something to show. */
const config = `version: 1
models:
  smollm2:
    file: ${base}.gguf
    slots: 2
virtual_models:
  smollm2-full:
    base: smollm2
  smollm2-lite:
    base: smollm2
    utility: {sigma: 1.5}
`;

describe("the page", options, () => {
  let server, browser;
  before(async () => {
    server = await serve(["--config", "DIR/aim.yaml"], { "aim.yaml": config });
    browser = await browse();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  test("each tab loads under its policy, without an error and without a request to another host", async () => {
    const response = await fetch(server.url);
    const policy = response.headers.get("Content-Security-Policy");
    assert.match(policy, /default-src 'none'/);
    assert.doesNotMatch(policy, /unsafe|\*|https?:/);
    for (const tab of tabs) {
      const { page, clean, context } = await open(browser, server.url, { tab });
      await page.getByRole("tab", { selected: true, name: new RegExp(tab, "i") }).waitFor();
      await page.waitForLoadState("networkidle");
      clean();
      await context.close();
    }
  });

  test("it works where nothing is kept: storage is refused", async () => {
    const { page, bad, context } = await open(browser, server.url, { allow: [/./] });
    await page.addInitScript(() => {
      for (const name of ["localStorage", "sessionStorage", "indexedDB"]) Object.defineProperty(window, name, { get() { throw new DOMException("refused", "SecurityError"); } });
    });
    await page.reload();
    const say = asking(page);
    await say.ask("Say one word.");
    await say.done();
    assert.deepEqual(bad, []);
    await context.close();
  });

  test("all of it is at most 200 kB gzipped", async () => {
    const seen = new Map();
    const { page, context } = await open(browser, server.url);
    page.on("response", async (r) => seen.set(r.url(), gzipSync(await r.body().catch(() => Buffer.alloc(0)), { level: 9 }).length));
    await page.reload();
    for (const tab of tabs) await page.getByRole("tab", { name: new RegExp(tab, "i") }).click();
    await page.waitForLoadState("networkidle");
    const own = [...seen].filter(([url]) => /\/$|\/assets\//.test(new URL(url).pathname));
    assert.ok(own.length >= 3);
    const total = own.reduce((n, [, size]) => n + size, 0);
    assert.ok(total > 20_000 && total <= 200_000, `it is ${total} bytes`);
    await context.close();
  });

  for (const theme of ["light", "dark"]) {
    for (const tab of tabs) {
      test(`${tab} in ${theme}: nothing keeps people out, wide or narrow`, async () => {
        const { page, clean, context } = await open(browser, server.url, { tab, theme });
        await page.waitForLoadState("networkidle");
        if (tab === "chat") {
          const say = asking(page);
          await say.ask("Name three rivers, as a list.");
          await say.done();
        }
        if (tab === "owner") await page.getByRole("heading", { name: "Keys" }).waitFor();
        for (const [name, width, height] of [["wide", 1440, 900], ["narrow", 390, 844]]) {
          await page.setViewportSize({ width, height });
          await page.waitForTimeout(400); // animations of the change
          assert.deepEqual(await violations(page), [], `${name}`);
          await shot(page, `${tab}-${name}-${theme}`);
          const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(over <= 0, `${name}: it is ${over} pixels too wide`);
        }
        clean();
        await context.close();
      });
    }
  }

  test("the theme can be chosen, and stays", async () => {
    const { page, clean, context } = await open(browser, server.url);
    await page.getByRole("button", { name: "Theme" }).click();
    await page.getByRole("menuitemradio", { name: "Dark" }).click();
    const dark = () => page.evaluate(() => getComputedStyle(document.documentElement).colorScheme === "dark");
    await until(dark, "it is dark");
    await page.reload();
    await until(dark, "it is dark again");
    clean();
    await context.close();
  });
});
