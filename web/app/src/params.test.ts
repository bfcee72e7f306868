import assert from "node:assert/strict";
import test from "node:test";
import { bounded, problem, readParams, type Param } from "./params";

const document = {
  components: { schemas: { ChatRequest: { properties: {
    model: { type: ["string", "null"] },
    temperature: { default: 1, description: "Divides the logits.", maximum: 2, minimum: 0, type: ["number", "null"] },
    max_completion_tokens: { anyOf: [{ minimum: 1 }, { const: -1 }, { type: "null" }], default: -1, description: "The most.", type: ["integer", "null"] },
    max_tokens: { description: "The same as max_completion_tokens.", type: ["integer", "null"] },
    mirostat: { anyOf: [{ maximum: 2, minimum: 2 }, { const: 0 }, { type: "null" }], default: 0, description: "2 or 0.", type: ["integer", "null"] },
    reasoning_effort: { description: "How much. Default: that of the template.", enum: ["none", "low", null], type: ["string", "null"] },
    new_one: { default: 3, description: "Not known here.", minimum: 1, maximum: 9, type: ["integer", "null"] },
  } } } },
};

const find = (name: string, groups = readParams(document)): Param => groups.flatMap((g) => g.params).find((p) => p.name === name)!;

test("bounds, defaults and kinds are the server's", () => {
  assert.deepEqual(readParams(document).map((g) => g.name), ["Length", "Randomness", "Truncation", "Form", "Further"]);
  const t = find("temperature");
  assert.deepEqual([t.kind, t.min, t.max, t.default, t.low, t.high], ["number", 0, 2, 1, 0, 2]);
  const n = find("max_completion_tokens");
  assert.deepEqual([n.kind, n.min, n.max, n.special, n.default], ["integer", 1, undefined, -1, -1]);
  assert.deepEqual([find("mirostat").kind, find("mirostat").choices], ["choice", ["0", "2"]]);
  assert.deepEqual([find("reasoning_effort").kind, find("reasoning_effort").choices, find("reasoning_effort").description], ["choice", ["none", "low"], "How much."]);
  assert.equal(find("new_one").label, "new_one");
  assert.equal(find("max_tokens"), undefined);
  assert.equal(find("model"), undefined);
});

test("values outside the bounds are told", () => {
  assert.equal(problem(find("temperature"), 2.5), "must be at most 2");
  assert.equal(problem(find("temperature"), 2), null);
  assert.equal(problem(find("max_completion_tokens"), -1), null);
  assert.equal(problem(find("max_completion_tokens"), 0), "must be at least 1");
  assert.equal(problem(find("max_completion_tokens"), 1.5), "must be a whole number");
});

test("a model's policy narrows them", () => {
  const card = {
    id: "m", base: "m", policy: { max_tokens: 100, bounds: { temperature: { min: 0.5, max: 3 } }, defaults: { temperature: 0.7 } },
    utility: { imposed: false, allowed: true, sigma: 0, level: 1 }, curve: null,
  };
  const narrow = bounded(readParams(document), card);
  const t = find("temperature", narrow);
  assert.deepEqual([t.min, t.max, t.low, t.high, t.default], [0.5, 2, 0.5, 2, 0.7]);
  assert.equal(find("max_completion_tokens", narrow).high, 100);
});
