import assert from "node:assert/strict";
import test from "node:test";
import type { FocusEntry, Message } from "../api";
import { addEntries, bound, fit, locate, readWords, signed, spanAt } from "./entries";
import { countHits, findHits } from "./hits";

test("what is typed becomes entries", () => {
  assert.deepEqual(readWords(" water, -rain;  ice   cream\n+sun,,-", 0.5), [
    { text: "water", strength: 0.5 }, { text: "rain", strength: -0.5 }, { text: "ice cream", strength: 0.5 }, { text: "sun", strength: 0.5 },
  ]);
  assert.deepEqual(readWords("a, +b", -1), [{ text: "a", strength: -1 }, { text: "b", strength: 1 }]);
});

test("a word that is there gets another strength, and bounds hold", () => {
  const list = addEntries([{ text: "Water", strength: 0.5 }], [{ text: "water", strength: -1 }, { span: "be brief", strength: 1 }]);
  assert.deepEqual(list, [{ text: "Water", strength: -1 }, { span: "be brief", strength: 1 }]);
  const spans = addEntries([], [1, 2, 3, 4, 5].map((n) => ({ span: `s${n}`, strength: 1 })));
  assert.equal(spans.length, 4);
  assert.equal(bound(1.234), 1);
  assert.equal(bound(-0.777, 0.5), -0.5);
  assert.deepEqual([signed(0.5), signed(-1), signed(0)], ["+0.50", "−1.00", "0"]);
});

const messages: Message[] = [
  { role: "system", content: "Be brief. Be kind." },
  { role: "user", content: "Be brief, and name fruit. Be brief!" },
];

test("a selection becomes a span that says which occurrence is meant", () => {
  assert.deepEqual(spanAt(messages, 1, 14, 25, 0.5), { span: "name fruit.", strength: 0.5 });
  assert.deepEqual(spanAt(messages, 1, 25, 35, 1), { span: "Be brief!", strength: 1 });
  assert.deepEqual(spanAt(messages, 1, 26, 34, 1), { span: "Be brief", index: 2, strength: 1 });
  assert.deepEqual(spanAt(messages, 0, 0, 9, 1), { span: "Be brief.", strength: 1 });
  assert.deepEqual(spanAt(messages, 1, 0, 8, 1), { span: "Be brief", index: 1, strength: 1 });
  assert.equal(spanAt(messages, 1, 13, 14, 1), null);
  assert.equal(spanAt(messages, 7, 0, 3, 1), null);
  for (const [k, from, to] of [[0, 0, 8], [1, 0, 8], [1, 26, 34]] as const) {
    const f = spanAt(messages, k, from, to, 1) as FocusEntry & { span: string };
    assert.deepEqual(locate(messages, f), { message: k, at: from });
  }
});

test("a request has what fits its messages", () => {
  const list: FocusEntry[] = [
    { text: "sea", strength: 0.5 }, { text: "off", strength: 0 }, { span: "name fruit", index: 3, strength: 1 }, { span: "Be brief", strength: 1 }, { span: "gone", strength: 1 },
  ];
  assert.deepEqual(fit(list, messages), [{ text: "sea", strength: 0.5 }, { span: "name fruit", strength: 1 }, { span: "Be brief", strength: 1, index: 0 }]);
});

test("hits are whole words, whatever their case", () => {
  const hits = findHits("Water, underwater, water-based waters. WATER 水水 C++!", [["water"], ["水", "c++"], ["water-based"]]);
  assert.deepEqual(hits.map((h) => [h.at, h.entry]), [[0, 0], [19, 2], [39, 0], [45, 1], [46, 1], [48, 1]]);
  assert.deepEqual(countHits(hits, 3), [2, 3, 1]);
  assert.deepEqual(findHits("a.b axb", [["a.b", " "]]).map((h) => h.at), [0]);
});
