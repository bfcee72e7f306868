import assert from "node:assert/strict";
import { test } from "node:test";
import { daysAgo, few, seconds, span, whole } from "./format";
import { readForm, untyped } from "./form";

test("an empty form asks for a name, and grants all", () => {
  const { request, problems } = readForm(untyped(false));
  assert.deepEqual(Object.keys(problems), ["name"]);
  assert.deepEqual(request, { name: "", grant: {} });
});

test("the first key is an administrator's", () => {
  assert.deepEqual(readForm({ ...untyped(true), name: "me" }).request, { name: "me", grant: { admin: true } });
});

test("what is typed becomes a grant", () => {
  const typed = untyped(false);
  const { request, problems } = readForm({
    ...typed, name: " Ada ", models: "smollm2-*, gemma", networks: "10.0.0.0/8 192.168.1.7 ::1", lowerUtility: true, maxFocus: "0", days: "30",
    numbers: { ...typed.numbers, requests_per_minute: "60", tokens_per_day: "100,000", priority: "4" },
  }, Date.parse("2026-11-01T12:00:00Z"));
  assert.deepEqual(problems, {});
  assert.deepEqual(request, {
    name: "Ada", expires: "2026-12-01T12:00:00.000Z",
    grant: {
      models: ["smollm2-*", "gemma"], networks: ["10.0.0.0/8", "192.168.1.7/32", "::1/128"], lower_utility: true, requests_per_minute: 60,
      tokens_per_day: 100_000, priority: 4, max_focus: 0,
    },
  });
});

test("what cannot be meant is told by field", () => {
  const typed = untyped(false);
  for (const [field, text] of [["concurrency", "0"], ["concurrency", "1.5"], ["priority", "101"], ["tokens_per_month", "many"]] as const) {
    assert.deepEqual(Object.keys(readForm({ ...typed, name: "x", numbers: { ...typed.numbers, [field]: text } }).problems), [field], `${field} ${text}`);
  }
  for (const maxFocus of ["-0.1", "1.1", "x"]) assert.deepEqual(Object.keys(readForm({ ...typed, name: "x", maxFocus }).problems), ["maxFocus"], maxFocus);
});

test("numbers and times read well", () => {
  assert.deepEqual([whole(0), whole(12_345.4), whole(12_345_678)], ["0", "12,345", "12.3 M"]);
  assert.deepEqual([few(0), few(0.123), few(12.34), few(123.4)], ["0", "0.12", "12.3", "123"]);
  assert.deepEqual([seconds(null), seconds(0.0503), seconds(1.5), seconds(0.9999)], ["–", "50.3 ms", "1.50 s", "1.00 s"]);
  assert.deepEqual([span(0), span(45), span(65), span(3600), span(90_000)], ["0 s", "45 s", "1 min 5 s", "1 h", "1 d 1 h"]);
  assert.equal(daysAgo(6, new Date("2026-03-03T23:59:00Z")), "2026-02-25");
});
