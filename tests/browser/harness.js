// Starts servers and a browser for the tests, and watches what the page does. Everything started here ends with the tests, by its own process id.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import http from "node:http";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..");
const binary = process.env.AIM_BIN ?? join(root, "bin", "aim");
export const base = process.env.AIM_TEST_MODEL ?? "SmolLM2-135M-Instruct.Q4_1";
/** Where screenshots are put, for people to look at. */
export const shots = join(here, "screenshots");
mkdirSync(shots, { recursive: true });

/** The browser's program; undefined where there is none. */
export const browserPath = [process.env.AIM_CHROMIUM, ...["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].flatMap(inPath)].filter(Boolean).find(runs);

function inPath(name) {
  return (process.env.PATH ?? "").split(delimiter).map((dir) => join(dir, name));
}

function runs(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** What tests pass as an option: skips them where there is no browser. */
export const options = browserPath ? {} : { skip: "there is no Chromium: install the package chromium, or say where it is in AIM_CHROMIUM" };

/** Starts aim serve on a free port and waits until it answers. files are written into its folder first, by name; flags may name them with DIR/. */
export async function serve(flags = [], files = {}) {
  const dir = mkdtempSync(join(tmpdir(), "aim-browser-"));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  // One secret in every run, so that chance decides no test.
  writeFileSync(join(dir, "secret"), "aim test".repeat(4), { mode: 0o600 });
  const model = flags.includes("--config") ? [] : ["--model", base];
  const args = ["serve", ...model, "--addr", "127.0.0.1:0", "--state-dir", dir, "--database", join(dir, "aim.db"), ...flags.map((f) => f.replace(/^DIR\//, `${dir}/`))];
  const child = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"] });
  const log = [];
  createInterface({ input: child.stderr }).on("line", (line) => log.push(line));
  const ended = new Promise((resolve) => child.once("exit", resolve));
  let over = false;
  void ended.then(() => (over = true));
  const greeting = await Promise.race([new Promise((resolve) => createInterface({ input: child.stdout }).on("line", resolve)), ended.then(() => null)]);
  const url = /(http:\/\/\S+)\/v1/.exec(greeting ?? "")?.[1];
  if (!url) {
    child.kill("SIGKILL");
    throw new Error(`aim serve said ${greeting}\n${log.join("\n")}`);
  }
  await until(async () => (await fetch(`${url}/health`)).ok, "the server is ready", 120_000);
  return {
    url, dir, log, pid: child.pid,
    /** Ends it at once, as a crash would. */
    async crash() {
      child.kill("SIGKILL");
      await ended;
    },
    async stop() {
      if (!over) child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
      await ended;
      clearTimeout(timer);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Waits until f gives something true; what failed meanwhile is told in the end. */
export async function until(f, what, most = 30_000) {
  const end = Date.now() + most;
  let last;
  for (;;) {
    try {
      last = await f();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`it did not come to be that ${what}; last was ${last}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Starts the browser. */
export async function browse() {
  return chromium.launch({ executablePath: browserPath, args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
}

/** Opens the page of a server. What must never happen is gathered in its list bad: errors, requests to other hosts, broken policies. */
export async function open(browser, url, { tab = "", width = 1440, height = 900, theme = "light", key, allow = [] } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme, locale: "en-US" });
  context.setDefaultTimeout(30_000);
  const page = await context.newPage();
  const bad = [];
  page.on("pageerror", (error) => bad.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !allow.some((a) => a.test(message.text()))) bad.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on("dialog", (dialog) => {
    bad.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("request", (request) => {
    const to = new URL(request.url());
    if (to.origin !== url && !["data:", "blob:"].includes(to.protocol)) bad.push(`request to ${to.origin}`);
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`));
  });
  if (key) await page.addInitScript((k) => sessionStorage.setItem("aim:key", k), key);
  await page.goto(`${url}/${tab ? `#/${tab}` : ""}`);
  return { page, bad, context, clean: () => assert.deepEqual(bad, []) };
}

const axeSource = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** The serious and critical violations that axe-core finds, each with where it is. */
export async function violations(page) {
  await page.evaluate(await import("node:fs").then((fs) => fs.readFileSync(axeSource, "utf8")));
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.filter((v) => ["serious", "critical"].includes(v.impact))
    .map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => `${n.target.join(" ")} (${n.any.map((a) => a.message).join("; ")})`).join(", ")}`);
}

/** Saves a picture of what is on screen. */
export async function shot(page, name) {
  await page.screenshot({ path: join(shots, `${name}.png`), animations: "disabled" });
}

/** Stands before a server, and answers some requests itself: answers maps "POST /path" to (request, response, body) => true where it did. */
export async function stand(before, answers) {
  const server = http.createServer((request, response) => {
    const parts = [];
    request.on("data", (d) => parts.push(d));
    request.on("end", async () => {
      const body = Buffer.concat(parts);
      const own = answers[`${request.method} ${request.url.split("?")[0]}`];
      if (own && (await own(request, response, body.length ? JSON.parse(body.toString()) : null)) !== false) return;
      const to = http.request(before + request.url, { method: request.method, headers: { ...request.headers, host: new URL(before).host } }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      to.on("error", () => response.destroy());
      response.on("close", () => to.destroy());
      to.end(body);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => new Promise((resolve) => {
      server.closeAllConnections();
      server.close(resolve);
    }),
  };
}

/** Streams texts as an answer's pieces, in OpenAI's form. */
export function answer(response, pieces) {
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  const chunk = (delta, finish = null) => response.write(`data: ${JSON.stringify({ id: "chatcmpl-test", object: "chat.completion.chunk", created: 1, model: "test", choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }] })}\n\n`);
  chunk({ role: "assistant", content: "" });
  for (const content of pieces) chunk({ content });
  chunk({}, "stop");
  response.end("data: [DONE]\n\n");
}

/** The parts of the chat. */
export function asking(page) {
  const field = page.getByRole("textbox", { name: "Message", exact: true });
  const last = page.getByRole("article", { name: /^Answer of/ }).last();
  const send = page.getByRole("button", { name: "Send", exact: true });
  const stop = page.getByRole("button", { name: "Stop", exact: true });
  return {
    field, last, send, stop,
    async ask(text) {
      await field.fill(text);
      await send.click();
    },
    /** What the last answer says so far; "" where there is none. */
    text: async () => ((await last.count()) > 0 ? (await last.locator(".markdown").allInnerTexts()).join("\n") : ""),
    /** Waits for the end of the last answer. */
    done: () => until(async () => (await last.count()) > 0 && (await last.getAttribute("aria-busy")) === "false" && (await stop.count()) === 0, "the answer is whole", 120_000),
  };
}
