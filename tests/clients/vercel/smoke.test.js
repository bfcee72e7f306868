// A smoke test of the Vercel AI SDK: a streamed answer, an object by a schema, and a tool call.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, streamText, tool } from "ai";
import { z } from "zod";

const { AIM_URL, AIM_MODEL } = process.env;
const model = createOpenAICompatible({ name: "aim", baseURL: `${AIM_URL}/v1`, supportsStructuredOutputs: true })(AIM_MODEL);
const common = { model, temperature: 0, maxRetries: 0 };
const Weather = z.object({ city: z.string().max(30), unit: z.enum(["celsius", "fahrenheit"]) });

test("a streamed answer", async () => {
  const stream = streamText({ ...common, prompt: "What is gravity?", maxOutputTokens: 24 });
  const pieces = [];
  for await (const piece of stream.textStream) pieces.push(piece);
  assert.ok(pieces.length > 5);
  assert.match(pieces.join(""), /gravity/i);
  assert.equal(await stream.finishReason, "length");
});

test("an object", async () => {
  const { output } = await generateText({
    ...common, prompt: "How warm is it in Paris? As JSON.", maxOutputTokens: 200, output: Output.object({ schema: Weather }),
  });
  assert.deepEqual(Weather.parse(output), output);
});

test("a tool call", async () => {
  const weather = tool({ description: "The weather of a city.", inputSchema: Weather });
  const { toolCalls, finishReason } = await generateText({
    ...common, prompt: "How warm is it in Paris?", maxOutputTokens: 100, tools: { weather }, toolChoice: "required",
  });
  assert.equal(finishReason, "tool-calls");
  assert.equal(toolCalls[0].toolName, "weather");
  assert.deepEqual(Weather.parse(toolCalls[0].input), toolCalls[0].input);
});
