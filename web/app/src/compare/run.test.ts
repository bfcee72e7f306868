import assert from "node:assert/strict";
import test from "node:test";
import { Run, speedOf, tokensOf } from "./run";

const wait = () => new Promise((resolve) => setTimeout(resolve, 5));

async function ended(run: Run): Promise<void> {
  while (run.running.value) await wait();
}

function events(...list: unknown[]): Response {
  return new Response(list.map((e) => `data: ${JSON.stringify(e)}\n\n`).join("") + "data: [DONE]\n\n");
}

const piece = (index: number, content: string, finish: string | null = null) => ({ choices: [{ index, delta: { content }, logprobs: null, finish_reason: finish }] });

test("choices fill their columns, whatever their order", async () => {
  globalThis.fetch = async () => events(piece(1, "b"), piece(0, "a"), piece(1, "c", "stop"), piece(0, "", "length"), { choices: [], aim: { report: { choices: [{ index: 1, steps: 3, flips: 2 }] } } });
  const run = new Run();
  const body = { messages: [] };
  run.start([{ path: "/v1/aim/sweep", body: {}, columns: [{ key: "x", body: { ...body } }, { key: "y", body: { ...body } }] }]);
  await ended(run);
  const { x, y } = run.columns.value;
  assert.deepEqual([x!.text, x!.finish, x!.state, tokensOf(x!)], ["a", "length", "done", 1]);
  assert.deepEqual([y!.text, y!.finish, y!.report!.flips, tokensOf(y!)], ["bc", "stop", 2, 3]);
  assert.equal(speedOf(x!), null);
});

test("a failure is the columns' that it meets, and a stop is none", async () => {
  globalThis.fetch = (async (path: string, init: RequestInit) => {
    if (path === "/bad") return new Response('{"error":{"message":"no room","code":"rate_limit_exceeded"}}', { status: 429 });
    return new Promise((_, reject) => init.signal!.addEventListener("abort", () => reject(new DOMException("", "AbortError"))));
  }) as typeof fetch;
  const run = new Run();
  run.start([{ path: "/bad", body: {}, columns: [{ key: "x", body: { messages: [] } }] }, { path: "/slow", body: {}, columns: [{ key: "y", body: { messages: [] } }] }]);
  await wait();
  run.stop();
  await ended(run);
  assert.deepEqual([run.columns.value["x"]!.state, run.columns.value["x"]!.failure!.status], ["failed", 429]);
  assert.deepEqual([run.columns.value["y"]!.state, run.columns.value["y"]!.failure], ["stopped", null]);
});

test("a calibration is waited for", async () => {
  let asked = 0;
  globalThis.fetch = async () => ++asked < 3 ? new Response('{"error":{"message":"wait","code":"calibrating"}}', { status: 503, headers: { "Retry-After": "0.01" } }) : events(piece(0, "a", "stop"));
  const run = new Run();
  run.start([{ path: "/x", body: {}, columns: [{ key: "x", body: { messages: [] } }] }]);
  await ended(run);
  assert.deepEqual([asked, run.columns.value["x"]!.state, run.waiting.value], [3, "done", null]);
});

test("what was begun anew is not written by what came before", async () => {
  let release = () => {};
  const first = new Promise<void>((resolve) => (release = resolve));
  globalThis.fetch = (async (path: string) => {
    if (path === "/shared") await first;
    return path === "/shared" ? events(piece(0, "old", "stop"), piece(1, "kept", "stop")) : events(piece(0, "new", "stop"));
  }) as typeof fetch;
  const run = new Run();
  run.start([{ path: "/shared", body: {}, columns: [{ key: "x", body: { messages: [] } }, { key: "y", body: { messages: [] } }] }]);
  run.start([{ path: "/one", body: {}, columns: [{ key: "x", body: { messages: [] } }] }]);
  await wait();
  release();
  await ended(run);
  assert.deepEqual([run.columns.value["x"]!.text, run.columns.value["y"]!.text], ["new", "kept"]);
});
