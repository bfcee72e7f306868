// The API as the official client for JavaScript sees it.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

// tests/e2e/test_clients.py starts the servers: one that others use too; one that imposes noise; one that has a single slot,
// no queue, and comments every 20 ms. The last one is this file's alone, which ends it.
const { AIM_URL: url, AIM_IMPOSED_URL: imposedURL, AIM_SMALL_URL: smallURL, AIM_SMALL_PID: smallPID, AIM_MODEL: model } = process.env;

// A client that repeats nothing: a test shall see every failure.
const connect = (to, options = {}) => new OpenAI({ baseURL: `${to}/v1`, apiKey: "unused", maxRetries: 0, timeout: 300_000, ...options });

const question = [{ role: "user", content: "What is gravity?" }];
const Weather = z.object({ city: z.string().max(30), unit: z.enum(["celsius", "fahrenheit"]) });
const tool = zodFunction({ name: "weather", description: "The weather of a city.", parameters: Weather });

const client = connect(url);
const request = (more) => ({ model, messages: question, temperature: 0, max_tokens: 24, ...more });
const ask = (more, options) => client.chat.completions.create(request(more), options);

async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

test("whole and streamed answers agree", async () => {
  const whole = await ask();
  assert.equal(whole.object, "chat.completion");
  assert.equal(whole.choices[0].finish_reason, "length");
  assert.equal(whole.usage.completion_tokens, 24);
  assert.match(whole.choices[0].message.content, /gravity/i);

  const chunks = await all(await ask({ stream: true, stream_options: { include_usage: true } }));
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  const text = chunks.map((c) => c.choices[0]?.delta.content ?? "").join("");
  assert.equal(text, whole.choices[0].message.content);
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.deepEqual(chunks.at(-1).usage, whole.usage);
  assert.equal(chunks.at(-2).choices[0].finish_reason, "length");
});

test("the stream helper accumulates the whole answer", async () => {
  const stream = client.chat.completions.stream(request());
  let text = "";
  stream.on("content", (delta) => (text += delta));
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.content, text);
  assert.equal(text, (await ask()).choices[0].message.content);
});

test("completions, models and responses", async () => {
  const prompt = { model: model, prompt: "The capital of France is", temperature: 0, max_tokens: 8 };
  const whole = await client.completions.create(prompt);
  assert.match(whole.choices[0].text, /^ Paris/);
  const chunks = await all(await client.completions.create({ ...prompt, stream: true }));
  assert.equal(chunks.map((c) => c.choices[0].text).join(""), whole.choices[0].text);

  const models = await all(client.models.list());
  assert.deepEqual(models.map((m) => m.id), [model]);
  assert.equal((await client.models.retrieve(model)).object, "model");

  const response = await client.responses.create({
    model: model, input: "What is gravity?", temperature: 0, max_output_tokens: 24,
  });
  assert.equal(response.output_text, (await ask()).choices[0].message.content);
});

test("log-probabilities spell the answer", async () => {
  const { message, logprobs } = (await ask({ logprobs: true, top_logprobs: 3 })).choices[0];
  const bytes = logprobs.content.flatMap((t) => t.bytes);
  assert.equal(Buffer.from(bytes).toString(), message.content);
  for (const t of logprobs.content) {
    assert.equal(t.top_logprobs.length, 3);
    assert.ok(t.logprob <= 0 && t.logprob === t.top_logprobs[0].logprob);
  }
});

for (const tool_choice of ["required", { type: "function", function: { name: "weather" } }]) {
  test(`a forced call: ${JSON.stringify(tool_choice)}`, async () => {
    const wanted = { messages: [{ role: "user", content: "How warm is it in Paris?" }], tools: [tool], tool_choice, max_tokens: 100 };
    const whole = await client.chat.completions.parse(request(wanted));
    const [choice] = whole.choices;
    assert.equal(choice.finish_reason, "tool_calls");
    assert.equal(choice.message.tool_calls.length, 1);
    const [call] = choice.message.tool_calls;
    assert.equal(call.function.name, "weather");
    assert.deepEqual(Weather.parse(JSON.parse(call.function.arguments)), call.function.parsed_arguments);

    const chunks = await all(await ask({ ...wanted, stream: true }));
    const deltas = chunks.flatMap((c) => c.choices[0].delta.tool_calls ?? []);
    assert.ok(deltas.length > 2, "arguments come in pieces");
    assert.equal(deltas[0].type, "function");
    assert.ok(deltas[0].id && deltas.slice(1).every((d) => d.index === 0 && !d.id));
    assert.equal(deltas[0].function.name, "weather");
    assert.equal(deltas.map((d) => d.function.arguments ?? "").join(""), call.function.arguments);
    assert.equal(chunks.at(-1).choices[0].finish_reason, "tool_calls");
  });
}

test("a call, its result, and an answer in words", async () => {
  const messages = [{ role: "user", content: "How warm is it in Paris?" }];
  const first = await ask({ messages, tools: [tool], tool_choice: "required", max_tokens: 100 });
  const [call] = first.choices[0].message.tool_calls;
  messages.push(first.choices[0].message, { role: "tool", tool_call_id: call.id, content: "21 degrees" });
  const second = await ask({ messages, tools: [tool], tool_choice: "none" });
  assert.ok(second.choices[0].message.content);
  assert.equal(second.choices[0].message.tool_calls, undefined);
  const auto = await ask({ messages, tools: [tool] });
  assert.ok(["stop", "length", "tool_calls"].includes(auto.choices[0].finish_reason));
});

test("a JSON schema, through zod", async () => {
  const Event = z.object({ name: z.string().max(30), day: z.enum(["monday", "friday"]), guests: z.array(z.string().max(12)).max(3) });
  const parsed = await client.chat.completions.parse(
    request({
      messages: [{ role: "user", content: "Alice and Bob meet on Friday for chess. As JSON." }],
      response_format: zodResponseFormat(Event, "event"),
      max_tokens: 200,
    }),
  );
  assert.equal(parsed.choices[0].finish_reason, "stop");
  assert.deepEqual(Event.parse(JSON.parse(parsed.choices[0].message.content)), parsed.choices[0].message.parsed);
});

test("modulation, in a field of its own", async () => {
  const plain = await ask();
  const noisy = await ask({ aim: { utility: { sigma: 3 }, report: true } });
  assert.notEqual(noisy.choices[0].message.content, plain.choices[0].message.content);
  assert.equal(noisy.aim.report.sigma, 3);
  assert.equal(noisy.aim.report.steps, 24);
  const dry = await ask({ max_tokens: 60, messages: [{ role: "user", content: "Describe a river." }], aim: { focus: [{ text: "water", strength: -1 }] } });
  assert.doesNotMatch(dry.choices[0].message.content, /\bwater\b/i);
});

test("errors have the client's classes", async () => {
  await assert.rejects(ask({ temperature: 9 }), (e) => e instanceof OpenAI.BadRequestError && e.param === "temperature");
  await assert.rejects(ask({ aim: { utilty: {} } }), (e) => e instanceof OpenAI.BadRequestError && e.param === "aim.utilty");
  await assert.rejects(
    ask({ messages: [{ role: "user", content: "word ".repeat(5000) }], stream: true }),
    (e) => e instanceof OpenAI.BadRequestError && e.code === "context_length_exceeded",
  );
  await assert.rejects(ask({ model: "no-such-model" }), (e) => e instanceof OpenAI.NotFoundError && e.code === "model_not_found");
  await assert.rejects(connect(url, { timeout: 50 }).chat.completions.create(request({ max_tokens: 200 })), OpenAI.APIConnectionTimeoutError);
  await assert.rejects(connect("http://127.0.0.1:1").chat.completions.create(request()), OpenAI.APIConnectionError);
});

test("an imposed utility is not the caller's", () =>
  assert.rejects(
    connect(imposedURL).chat.completions.create(request({ aim: { utility: { sigma: 1 } } })),
    (e) => e instanceof OpenAI.PermissionDeniedError && e.param === "aim.utility.sigma",
  ));

test("comments, a full queue, a client that leaves, and a shutdown", async () => {
  const small = connect(smallURL).chat.completions;
  const long = (more) => small.create(
    request({ messages: [{ role: "user", content: "Tell a very long story." }], stream: true, max_tokens: 2000, ignore_eos: true, ...more }),
  );
  const short = () => small.create(request({ max_tokens: 1 }));

  // A prompt so long that comments precede the first token: the client reads over them.
  const words = (word) => request({ messages: [{ role: "user", content: `${word} `.repeat(300) }], stream: true, max_tokens: 2, ignore_eos: true });
  const raw = await fetch(`${smallURL}/v1/chat/completions`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(words("word")),
  });
  assert.match(await raw.text(), /^: keep-alive\n/);
  const chunks = await all(await small.create(words("term")));
  assert.equal(chunks.at(-1).choices[0].finish_reason, "length");

  const stream = await long();
  await stream[Symbol.asyncIterator]().next();
  await assert.rejects(short(), (e) => e instanceof OpenAI.RateLimitError && Number(e.headers.get("retry-after")) > 0);
  stream.controller.abort();
  await accepted(short);

  const last = await long({ max_tokens: 150 });
  const rest = last[Symbol.asyncIterator]();
  await rest.next();
  process.kill(smallPID, "SIGTERM");
  let refused;
  for (let i = 0; i < 500 && !(refused instanceof OpenAI.InternalServerError); i++) refused = await short().catch((e) => e);
  assert.ok(refused instanceof OpenAI.InternalServerError && refused.status === 503, `${refused}`);
  let finish;
  for (let step = await rest.next(); !step.done; step = await rest.next()) finish = step.value.choices[0].finish_reason ?? finish;
  assert.equal(finish, "length");
});

/** Repeats a request until a slot is free. The other one, of 2000 tokens, would take many seconds more. */
async function accepted(create) {
  const start = Date.now();
  for (;;) {
    try {
      return await create();
    } catch (e) {
      if (!(e instanceof OpenAI.RateLimitError) || Date.now() - start > 5000) throw e;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
