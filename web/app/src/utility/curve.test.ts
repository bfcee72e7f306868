import assert from "node:assert/strict";
import test from "node:test";
import { levelOf, meaning, readCurve, restraint, sigmaOf } from "./curve";

const curve = readCurve([{ sigma: 2, level: 0.4 }, { sigma: 0, level: 1 }, { sigma: 1, level: 0.8 }, { sigma: 3, level: 0.41 }])!;

test("a curve is read both ways", () => {
  assert.deepEqual(curve.map((p) => p.level), [1, 0.8, 0.4, 0.4]);
  for (const [sigma, level] of [[0, 1], [0.5, 0.9], [1, 0.8], [1.5, 0.6], [2, 0.4]] as const) {
    assert.ok(Math.abs(levelOf(curve, sigma)! - level) < 1e-12, `σ ${sigma}`);
    assert.ok(Math.abs(sigmaOf(curve, level)! - sigma) < 1e-12, `level ${level}`);
  }
  assert.equal(levelOf(curve, 4), null);
  assert.equal(sigmaOf(curve, 0.3), null);
  assert.equal(readCurve(null), null);
  assert.equal(readCurve([{ sigma: 0, level: 1 }]), null);
});

test("a curve begins at the model as it is", () => {
  const measured = readCurve([{ sigma: 0.1, level: 0.99 }, { sigma: 1, level: 0.5 }])!;
  assert.deepEqual([sigmaOf(measured, 1), levelOf(measured, 0)], [0, 1]);
});

test("levels are told in tokens", () => {
  assert.equal(meaning(1), "The model as it is.");
  assert.match(meaning(0.9), /one token in 10 /);
  assert.match(meaning(0.6), /one token in 2.5 /);
  assert.match(meaning(0.2), /80 tokens in 100/);
});

test("who may not ask is told why", () => {
  assert.equal(restraint({ imposed: false, allowed: true, sigma: 0, level: 1 }), null);
  assert.equal(restraint({ imposed: true, allowed: false, sigma: null, level: null })!.blocked, true);
  assert.equal(restraint({ imposed: true, allowed: true, sigma: 1, level: 0.8 })!.blocked, false);
  assert.match(restraint({ imposed: true, allowed: true, sigma: 1, level: 0.8 })!.text, /level 0\.80/);
});
