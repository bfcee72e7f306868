// Utility, compare, focus, the token inspector, and what can be taken away: what is moved on the page is in the request, and in the answer.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, test } from "node:test";

import { asking, browse, open, options, serve, shot, until, violations } from "./harness.js";

const question = "Describe a river.";

describe("the dials", options, () => {
  let server, browser;
  before(async () => {
    server = await serve(["--slots", "4"]);
    browser = await browse();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  /** Opens a tab, and gathers what it sends to an endpoint. */
  async function on(tab, path = "/v1/chat/completions") {
    const opened = await open(browser, server.url, { tab });
    const sent = [];
    opened.page.on("request", (r) => new URL(r.url()).pathname === path && sent.push(r.postDataJSON()));
    return { ...opened, sent };
  }

  test("the dial of utility changes the request and the answer", async () => {
    const { page, sent, clean, context } = await on("chat");
    const say = asking(page);
    await say.ask(question);
    await say.done();
    const plain = await say.text();
    await page.getByRole("radio", { name: "σ, the noise" }).check({ force: true });
    const dial = page.getByRole("slider", { name: "σ, the noise" });
    await dial.fill("2");
    await page.keyboard.press("Alt+n");
    await say.ask(question);
    await say.done();
    assert.equal(sent.length, 2);
    assert.equal(sent[0].aim?.utility, undefined);
    assert.deepEqual(sent[1].aim.utility, { sigma: 2 });
    assert.notEqual(await say.text(), plain);
    // The dial is kept, and its end is the model as it is.
    await page.reload();
    await until(async () => (await dial.inputValue()) === "2", "the dial stands where it was");
    await dial.fill("0");
    await page.keyboard.press("Alt+n");
    await say.ask(question);
    await say.done();
    assert.equal(sent[2].aim?.utility, undefined);
    assert.equal(await say.text(), plain, "without modulation the answer is the same");
    clean();
    await context.close();
  });

  test("parameters have the server's bounds, and go into the request", async () => {
    const { page, sent, clean, context } = await on("chat");
    const say = asking(page);
    const most = page.getByRole("textbox", { name: "Most tokens" });
    await most.fill("0");
    await page.getByText("Most tokens must be at least 1.").waitFor();
    await most.fill("12");
    await say.ask(question);
    await say.done();
    assert.equal(sent[0].max_completion_tokens, 12);
    await say.last.getByText(/^12 tokens/).waitFor();
    clean();
    await context.close();
  });

  test("compare streams one prompt at several levels from one batch, and marks what differs", async () => {
    const { page, sent, clean, context } = await on("compare", "/v1/aim/sweep");
    await page.getByRole("radio", { name: "σ", exact: true }).check({ force: true });
    await page.getByRole("textbox", { name: "Prompt", exact: true }).fill(question);
    await page.getByRole("button", { name: "Compare", exact: true }).click();
    const answers = page.getByRole("region", { name: "Answers side by side" });
    const columns = answers.getByRole("region", { name: /^σ/ });
    const growing = async () => Promise.all((await answers.getByRole("group", { name: /, answer$/ }).all()).map((e) => e.innerText()));
    await until(async () => (await growing()).filter((t) => t.length > 5).length >= 2, "several columns grow at once");
    await page.getByRole("button", { name: "Stop all" }).waitFor({ state: "detached", timeout: 120_000 });
    assert.equal(sent.length, 1, "one request");
    const count = await columns.count();
    assert.ok(count >= 2 && count <= 6);
    assert.equal(sent[0].sigmas.length, count);
    const texts = await growing();
    assert.ok(new Set(texts).size > 1, "they differ");
    await answers.getByText("differs").first().waitFor();
    assert.ok((await answers.locator("ins, mark, .differs, .new").count()) > 0, "what differs is marked");
    assert.deepEqual(await violations(page), []);
    await shot(page, "compare");
    // Up to six columns.
    const more = page.getByRole("button", { name: "Add a σ" });
    while (await more.isVisible()) await more.click();
    assert.equal(await columns.count(), 6);
    await page.getByRole("button", { name: "Stop all" }).waitFor({ state: "detached", timeout: 120_000 });
    clean();
    await context.close();
  });

  test("words and spans in focus change the request and the answer, with and without side by side", async () => {
    const { page, clean, context } = await on("focus");
    const bodies = [];
    page.on("request", (r) => r.method() === "POST" && bodies.push(r.postDataJSON()));
    const prompt = page.getByRole("textbox", { name: "Prompt", exact: true });
    await prompt.fill("Describe a river. Mention the rain often.");
    // A part of the prompt is selected by the keyboard, and pulled down.
    await prompt.press("End");
    for (let i = 0; i < "Mention the rain often.".length; i++) await page.keyboard.press("Shift+ArrowLeft");
    const pull = page.getByRole("slider", { name: "Pull the selection up or down" });
    await pull.waitFor();
    for (let i = 0; i < 4; i++) await page.keyboard.press("Alt+ArrowDown");
    await until(async () => (await pull.getAttribute("aria-valuenow")) === "-1", "it is pulled all the way down");
    const words = page.getByRole("textbox", { name: "Words to raise or lower" });
    await words.fill("boat, boats");
    await page.getByRole("button", { name: "More of these words" }).click();
    const chips = page.getByRole("list", { name: "Focus", exact: true });
    await chips.getByRole("slider", { name: "Strength of boat", exact: true }).fill("0.9");
    await chips.getByRole("button", { name: "Remove boats" }).click();
    assert.equal(await chips.getByRole("listitem").count(), 2);
    const both = page.getByRole("switch", { name: /A\/B/ });
    if (!(await both.isChecked())) await both.check({ force: true });
    bodies.length = 0;
    await page.getByRole("button", { name: "Answer", exact: true }).click();
    const answers = page.getByRole("region", { name: "Answers", exact: true });
    await until(async () => (await answers.getByRole("group", { name: /, answer$/ }).allInnerTexts()).filter((t) => t.trim().length > 20).length === 2, "both answer", 120_000);
    await page.getByRole("button", { name: /^Stop/ }).waitFor({ state: "detached", timeout: 120_000 });
    const focused = bodies.find((b) => b.aim?.focus);
    const span = focused.aim.focus.find((f) => f.span), text = focused.aim.focus.find((f) => f.text);
    assert.deepEqual([span.span, span.strength], ["Mention the rain often.", -1]);
    assert.deepEqual([[text.text].flat(), text.strength], [["boat"], 0.9]);
    const without = bodies.find((b) => b.messages && !b.aim?.focus);
    if (without) assert.deepEqual(without.messages, focused.messages, "the same question without focus");
    assert.ok((await answers.locator("mark").count()) > 0, "hits are marked");
    assert.deepEqual(await violations(page), []);
    await shot(page, "focus");
    clean();
    await context.close();
  });

  test("the inspector tells each token, before and after", async () => {
    const { page, sent, clean, context } = await on("chat");
    const say = asking(page);
    await page.getByRole("radio", { name: "σ, the noise" }).check({ force: true });
    await page.getByRole("slider", { name: "σ, the noise" }).fill("2");
    await say.ask(question);
    await say.done();
    assert.equal(sent[0].logprobs, true);
    const text = await say.text();
    await say.last.getByRole("button", { name: "Look at its tokens" }).click();
    const tokens = page.getByRole("listbox", { name: "Tokens of the answer" });
    await tokens.waitFor();
    assert.equal((await tokens.getByRole("option").allTextContents()).join("").slice(0, 12).trim(), text.slice(0, 12).trim());
    const detail = page.getByRole("region", { name: "The token that is looked at" });
    await tokens.focus();
    await page.keyboard.press("Home");
    await detail.getByText("best stays best").waitFor();
    const first = await detail.innerText();
    await page.keyboard.press("ArrowRight");
    await until(async () => (await detail.innerText()) !== first, "the next token is told");
    await until(async () => (await tokens.getByRole("option", { selected: true }).getAttribute("data-i")) === "1", "it is the second");
    await detail.getByRole("columnheader", { name: /before.*after/s }).waitFor();
    for (const by of ["Flips", "Focus", "Probability"]) await page.getByRole("radio", { name: by }).check({ force: true });
    assert.deepEqual(await violations(page), []);
    await shot(page, "inspect");
    clean();
    await context.close();
  });

  test("the request is taken away as code that runs, and as a link", async () => {
    const { page, sent, clean, context } = await on("chat");
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    const say = asking(page);
    await page.getByRole("radio", { name: "σ, the noise" }).check({ force: true });
    await page.getByRole("slider", { name: "σ, the noise" }).fill("1.5");
    await say.field.fill("It's a \"test\": what is $HOME?");
    const take = async (name) => {
      await page.getByRole("button", { name: "Take it away" }).click();
      await page.getByRole("menuitem", { name }).click();
      await page.getByText(/copied/i).first().waitFor();
      await page.getByRole("button", { name: "Dismiss" }).click();
      return page.evaluate(() => navigator.clipboard.readText());
    };
    const curl = await take("Copy as curl");
    const link = await take("Copy a link");
    assert.match(link, /^http:\/\/[^\n]*#/);
    const answered = execFileSync("bash", ["-c", curl], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    assert.match(answered, /"content"/);
    await say.send.click();
    await say.done();
    const body = JSON.parse(/\{[^]*\}/.exec(curl)[0].replaceAll("'\\''", "'"));
    assert.deepEqual(body.messages, sent[0].messages);
    assert.deepEqual(body.aim.utility, sent[0].aim.utility);
    const other = await open(browser, server.url);
    await other.page.goto("about:blank"); // so that the link is opened, and no fragment changed
    await other.page.goto(link);
    await until(async () => (await asking(other.page).field.inputValue()) === "It's a \"test\": what is $HOME?", "the link carries the prompt");
    assert.equal(await other.page.getByRole("slider", { name: "σ, the noise" }).inputValue(), "1.5");
    other.clean();
    await other.context.close();
    clean();
    await context.close();
  });
});
