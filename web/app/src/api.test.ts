import assert from "node:assert/strict";
import test from "node:test";
import { ApiError, EventParser, stream } from "./api";

test("events are the same however the text is cut", () => {
  const text = 'data: {"a":1}\n\n: comment\r\n\r\ndata: two\r\ndata:lines\r\n\r\ndata: [DONE]\n\n';
  const want = ['{"a":1}', "two\nlines", "[DONE]"];
  for (let size = 1; size <= text.length; size++) {
    const parser = new EventParser();
    const got: string[] = [];
    for (let i = 0; i < text.length; i += size) got.push(...parser.push(text.slice(i, i + size)));
    assert.deepEqual(got, want, `in pieces of ${size}`);
  }
});

/** answers makes fetch answer with a body, in the pieces given. */
function answers(status: number, pieces: string[], headers: Record<string, string> = {}): void {
  globalThis.fetch = async () => {
    const body = new ReadableStream({
      start(c) {
        for (const p of pieces) c.enqueue(new TextEncoder().encode(p));
        c.close();
      },
    });
    return new Response(body, { status, headers });
  };
}

async function read(): Promise<unknown[]> {
  const list: unknown[] = [];
  for await (const chunk of stream("/x", {})) list.push(chunk);
  return list;
}

test("a stream that ends early, or with an error, fails", async () => {
  answers(200, ['data: {"n":1}\n\n', "data: [DONE]\n\n"]);
  assert.deepEqual(await read(), [{ n: 1 }]);
  answers(200, ['data: {"n":1}\n\n']);
  await assert.rejects(read(), (e: ApiError) => e.code === "cut");
  answers(200, ['data: {"error":{"message":"no","code":"deadline"}}\n\n']);
  await assert.rejects(read(), (e: ApiError) => e.message === "no" && e.code === "deadline");
});

test("errors keep what the server says", async () => {
  answers(429, ['{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}'], { "Retry-After": "7", "X-Request-Id": "req-1" });
  await assert.rejects(read(), (e: ApiError) => e.status === 429 && e.retryAfter === 7 && e.requestId === "req-1" && e.code === "rate_limit_exceeded");
  answers(502, ["<html>"]);
  await assert.rejects(read(), (e: ApiError) => e.status === 502 && e.message === "<html>");
});
