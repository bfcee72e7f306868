import assert from "node:assert/strict";
import test from "node:test";
import type { Step } from "../store";
import { before, withPreview, gapsOf, paintOf, percent, rowsOf, textOf, visible, type PreviewToken } from "./rows";

const bytes = (s: string) => [...new TextEncoder().encode(s)];
const entry = (token: string, p: number) => ({ token, bytes: bytes(token), logprob: Math.log(p) });
const side = (rank: number, logit: number, prob: number) => ({ rank, logit, logprob: Math.log(prob), prob });
const step: Step = {
  ...entry(" sea", 0.5), top: [entry(" sea", 0.5), entry(" lake", 0.2)], best: { token: " ocean", bytes: bytes(" ocean"), id: 3 }, flip: true, forced: true, hits: 1, retention: 0.7,
};
const preview: PreviewToken[] = [
  { token: " sea", bytes: bytes(" sea"), id: 1, before: side(2, 9, 0.2), after: side(2, 9.5, 0.25) },
  { token: " ocean", bytes: bytes(" ocean"), id: 3, before: side(1, 10.5, 0.6), after: side(1, 10, 0.4) },
  { token: " pond", bytes: bytes(" pond"), id: 4, before: side(3, 5, 0.01), after: null },
];

test("what was recorded and what a preview tells are joined", () => {
  const rows = rowsOf(step, preview, 8);
  assert.deepEqual(rows.map((r) => r.token), [" sea", " lake", " ocean", " pond"]);
  const [sea, lake, ocean] = rows;
  assert.ok(Math.abs(sea!.after! - 0.5) < 1e-12 && Math.abs(sea!.added! - Math.log(2)) < 1e-12 && sea!.before === 0.2 && sea!.utility === 0.25);
  assert.deepEqual([sea!.chosen, sea!.best, ocean!.chosen, ocean!.best], [true, false, false, true]);
  assert.deepEqual([lake!.before, lake!.added, lake!.beforeBelow], [null, null, 0.01]);
  assert.ok(ocean!.after === null && Math.abs(ocean!.below! - 0.2) < 1e-12);
  assert.deepEqual(rowsOf(step, preview, 2).map((r) => r.token), [" sea", " ocean"]);
  assert.deepEqual(rowsOf(step, null, 8).map((r) => [r.token, r.before]), [[" sea", null], [" lake", null], [" ocean", null]]);
  const unrecorded: Step = { token: " sea", bytes: bytes(" sea"), logprob: null, top: [] };
  assert.equal(rowsOf(unrecorded, preview, 8)[0]!.after, 0.4);
});

test("gaps are between logits before modulation", () => {
  assert.deepEqual(gapsOf(step, preview), { next: 1.5, chosen: 1.5 });
  assert.deepEqual(gapsOf(step, null), { next: null, chosen: null });
  const stopped: Step = { ...entry(" sea", 0.5), top: [] };
  assert.deepEqual([withPreview(stopped, preview).best!.token, withPreview(stopped, preview).flip], [" ocean", false]);
  assert.equal(withPreview(stopped, null), stopped);
});

test("steps are painted, and told", () => {
  assert.equal(paintOf(step, "probability").class, "p2");
  assert.equal(paintOf(step, "flips").text, "flipped");
  assert.equal(paintOf(step, "focus").class, "hits");
  assert.equal(paintOf({ ...step, hits: 0 }, "focus").class, "forced");
  assert.equal(paintOf(step, "none").class, "");
  assert.deepEqual([1, 0.123, 0.0123, 0.00001].map(percent), ["100 %", "12 %", "1.2 %", "< 0.1 %"]);
  assert.equal(visible("  a b\n"), "␣␣a b↵");
});

test("characters that lie across tokens are put together", () => {
  const [a, b, c] = bytes("水");
  const part = (list: number[]): Step => ({ token: "\ufffd", bytes: list, logprob: 0, top: [] });
  assert.equal(textOf([part([a!, b!]), part([c!])], 2), "水");
});

test("an answer that was continued is told from one that was not", () => {
  const steps = [" and", " deep", "."].map((token): Step => ({ token, bytes: bytes(token), logprob: 0, top: [] }));
  assert.equal(before("The sea is blue and deep.", steps), "The sea is blue");
  assert.equal(before(" and deep. and deep.", steps), "");
  assert.equal(before("Something else", steps), "");
  assert.equal(before("x", []), "");
});
