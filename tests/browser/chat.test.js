// The chat: answers of the real model, what can go wrong, and answers that mean harm.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { answer, asking, browse, open, options, serve, shot, stand, until } from "./harness.js";

const long = "Write a long story about a river and the people who live beside it.";

describe("the chat", options, () => {
  let server, browser;
  before(async () => {
    server = await serve(["--slots", "2"]);
    browser = await browse();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  const busy = async () => (await (await fetch(`${server.url}/slots`)).json()).filter((s) => s.is_processing).length;

  test("an answer of the real model streams in and is kept", async () => {
    const { page, clean, context } = await open(browser, server.url);
    const sent = [];
    page.on("request", (r) => r.url().endsWith("/v1/chat/completions") && sent.push(r.postDataJSON()));
    const say = asking(page);
    await say.ask("What is gravity?");
    // It is seen to grow before it is whole.
    await until(async () => (await say.last.innerText()).length > 20, "there is text");
    assert.equal(await say.stop.count(), 1);
    const early = (await say.text()).length;
    await say.done();
    assert.ok((await say.text()).length > early);
    assert.match(await say.text(), /gravity/i);
    assert.equal(sent.length, 1);
    assert.equal(sent[0].stream, true);
    assert.deepEqual(sent[0].messages.at(-1), { role: "user", content: "What is gravity?" });
    await shot(page, "chat");
    const text = await say.text();
    await page.reload();
    await until(async () => (await say.text()) === text, "the answer is there again");
    clean();
    await context.close();
  });

  test("stop ends the answer and frees the slot", async () => {
    const { page, clean, context } = await open(browser, server.url);
    const say = asking(page);
    await say.ask(long);
    await until(async () => (await busy()) === 1 && (await say.text()).length > 10, "the answer runs");
    await say.field.fill("Not to be sent yet.");
    await say.stop.click();
    await until(async () => (await busy()) === 0, "the slot is free");
    await say.done();
    assert.ok((await say.text()).length > 10, "what came stays");
    assert.equal(await say.field.inputValue(), "Not to be sent yet.");
    clean();
    await context.close();
  });

  test("the keyboard is enough", async () => {
    const { page, clean, context } = await open(browser, server.url);
    const say = asking(page);
    await say.field.waitFor();
    await until(() => page.evaluate(() => document.activeElement?.getAttribute("aria-label") === "Message"), "the field has the focus");
    await page.keyboard.type(long);
    await page.keyboard.press("Enter");
    await until(async () => (await say.text()).length > 10, "the answer runs");
    await page.keyboard.press("Escape");
    await say.done();
    await until(async () => (await busy()) === 0, "the slot is free");
    // From tab to tab: each is reached, shown, and said to be chosen.
    for (let i = 0; i < 60; i++) {
      if (await page.evaluate(() => document.activeElement?.getAttribute("role") === "tab")) break;
      await page.keyboard.press("Shift+Tab");
    }
    for (const name of ["Compare", "Focus", "Inspect", "Owner", "Chat"]) {
      await page.keyboard.press("ArrowRight");
      await page.getByRole("tab", { name, selected: true }).waitFor();
      assert.ok(await page.evaluate(() => document.activeElement?.matches("[role=tab]:focus-visible")), `the focus is seen on ${name}`);
    }
    for (const [i, name] of ["Chat", "Compare", "Focus", "Inspect", "Owner"].entries()) {
      await page.keyboard.press(`Alt+${i + 1}`);
      await page.getByRole("tab", { name, selected: true }).waitFor();
    }
    clean();
    await context.close();
  });

  test("a server that dies in the middle of an answer is told, and nothing is lost", async () => {
    const own = await serve(["--slots", "1"]);
    let again;
    try {
      const { page, context } = await open(browser, own.url);
      const say = asking(page);
      await say.ask(long);
      await until(async () => (await say.text()).length > 20, "the answer runs");
      await own.crash();
      await page.getByText(/broke off/).first().waitFor();
      assert.ok((await say.text()).length > 20, "what came stays");
      await say.field.fill("What I typed meanwhile.");
      await page.getByRole("button", { name: "Retry" }).first().click();
      await page.getByText(/cannot be reached|No connection/).first().waitFor();
      assert.equal(await say.field.inputValue(), "What I typed meanwhile.");
      await shot(page, "chat-crash");
      again = await serve(["--slots", "1", "--addr", new URL(own.url).host]);
      await page.getByRole("button", { name: "Retry" }).last().click();
      await until(async () => (await say.text()).length > 20, "it is answered after all");
      await say.stop.click();
      await say.done();
      await page.reload();
      await until(async () => (await say.field.inputValue()) === "What I typed meanwhile.", "what was typed outlasts the page");
      await page.getByText(long).first().waitFor();
      await context.close();
    } finally {
      await own.stop();
      await again?.stop();
    }
  });

  test("a key that is not taken and too many requests are told, and nothing is lost", async () => {
    const own = await serve(["--slots", "1"]);
    try {
      const post = async (path, body, key) => (await fetch(own.url + path, { method: "POST", body: JSON.stringify(body), headers: key ? { Authorization: `Bearer ${key}` } : {} })).json();
      const { secret: admin } = await post("/admin/keys", { name: "owner", grant: { admin: true } });
      const few = await post("/admin/keys", { name: "few", grant: { requests_per_minute: 1 } }, admin);
      const expected = [/status of (401|429)/];
      const { page, clean, context } = await open(browser, own.url, { allow: expected });
      const say = asking(page);
      const enter = async (key) => {
        const dialog = page.getByRole("dialog", { name: "API key" });
        await dialog.getByRole("textbox", { name: "Key" }).fill(key);
        await dialog.getByRole("button", { name: "Use it" }).click();
        await dialog.waitFor({ state: "detached" });
      };
      // Without a key the page asks for one at once, and what is typed meanwhile stays.
      await page.getByRole("dialog", { name: "API key" }).waitFor();
      await page.keyboard.press("Escape");
      await say.field.fill("Say one word.");
      await say.send.click();
      await page.getByText("An API key is needed").waitFor();
      await page.getByText("Say one word.").first().waitFor();
      await enter(few.secret);
      await page.getByRole("button", { name: "Retry" }).first().click();
      await until(async () => (await say.text()).length > 1, "it is answered");
      await say.done();
      await say.ask("Say another word.");
      await page.getByText("Too many requests").waitFor();
      await page.getByText("Say another word.").first().waitFor();
      await shot(page, "chat-429");
      await say.field.fill("Still here.");
      await page.reload();
      await page.getByText("Say another word.").first().waitFor();
      assert.equal(await say.field.inputValue(), "Still here.");
      clean();
      await context.close();
    } finally {
      await own.stop();
    }
  });

  test("answers that mean harm run nothing and load nothing", async () => {
    const harm = [
      "<script>window.harm = 1; alert(1)</script>", "<img src=x onerror=\"window.harm=2\">", "<svg onload=\"window.harm=3\"></svg>", "<iframe srcdoc=\"<script>parent.harm=4</script>\"></iframe>",
      "[link](javascript:window.harm=5)", "[link](JaVaScRiPt&colon;window.harm=6)", "[link](data:text/html,<script>window.harm=7</script>)", "<a href=\"javascript:window.harm=8\">raw</a>",
      "![image](http://127.0.0.1:9/image.png)", "![image](x \"onerror=window.harm=9\")", "<style>@import url(http://127.0.0.1:9/style.css)</style>", "<form action=\"http://127.0.0.1:9/\"><button>Send</button></form>",
      "<math><mtext></p><img src=x onerror=window.harm=10></mtext></math>", "```html\n<script>window.harm=11</script>\n```", "`<img src=x onerror=window.harm=12>`", "| a |\n| - |\n| <img src=x onerror=window.harm=13> |",
      "<https://127.0.0.1:9/>", "[good](https://example.com/)",
    ].join("\n\n");
    const front = await stand(server.url, { "POST /v1/chat/completions": (_, response) => answer(response, harm.match(/[^]{1,7}/g)) });
    try {
      const { page, clean, context } = await open(browser, front.url);
      const say = asking(page);
      await say.ask("Harm me.");
      await say.done();
      await page.getByRole("link", { name: "good" }).waitFor();
      const links = page.getByRole("log").getByRole("link");
      for (let i = 0; i < (await links.count()); i++) assert.match(await links.nth(i).getAttribute("href"), /^https?:\/\//);
      for (const link of await page.getByRole("log").getByText("link", { exact: true }).all()) await link.click();
      assert.equal(await page.getByRole("log").locator("script, img, svg[onload], iframe, style, form, math, [onerror], [onload]").count(), 0);
      assert.equal(await page.evaluate(() => window.harm), undefined);
      assert.match(await say.last.innerText(), /<script>window\.harm = 1/, "it is shown as text");
      await shot(page, "chat-harm");
      clean();
      await context.close();
    } finally {
      await front.close();
    }
  });

  const bombs = {
    "nested quotes": ">".repeat(20_000) + " deep",
    "nested lists": Array.from({ length: 500 }, (_, i) => " ".repeat(2 * i) + "- x").join("\n"),
    "open brackets": "[".repeat(100_000),
    "open emphasis": "**a _b ".repeat(30_000),
    "a megabyte in one line": "word ".repeat(200_000),
    "a megabyte in many blocks": "A *paragraph* of `some` words.\n\n".repeat(32_000),
    "a table of many columns": `|${"a|".repeat(5_000)}\n|${"-|".repeat(5_000)}\n|${"b|".repeat(5_000)}`,
    "open fences": "```\nx\n".repeat(20_000),
  };
  test("the page goes on under answers that are hard to parse", async (t) => {
    let pieces = [];
    const front = await stand(server.url, { "POST /v1/chat/completions": (_, response) => answer(response, pieces) });
    const { page, clean, context } = await open(browser, front.url);
    try {
      const say = asking(page);
      for (const [name, text] of Object.entries(bombs)) {
        await t.test(name, async () => {
          pieces = text.match(new RegExp(`[^]{1,${Math.ceil(text.length / 60)}}`, "g"));
          await page.keyboard.press("Alt+n");
          await say.ask("Bomb me.");
          await say.done();
          await say.field.fill("still alive");
          assert.equal(await page.evaluate(() => 1 + 1), 2);
        });
      }
      clean();
    } finally {
      await context.close();
      await front.close();
    }
  });
});
