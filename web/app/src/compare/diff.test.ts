import assert from "node:assert/strict";
import test from "node:test";
import { changed, diff, words, type Part } from "./diff";

const text = (parts: Part[], without: Part["kind"]) => parts.filter((p) => p.kind !== without).map((p) => p.text).join("");

test("words make up their text", () => {
  for (const s of ["", " ", "The sea, don't you think?\n\n  Well-known 水は。 ", "a  b\t c\n"]) assert.equal(words(s).join(""), s);
  assert.deepEqual(words("The sea."), ["The", " sea", "."]);
});

test("what differs is marked, and no more", () => {
  assert.deepEqual(diff("The sea is deep and blue.", "The sea was deep and very blue!"), [
    { kind: "same", text: "The sea" }, { kind: "gone", text: " is" }, { kind: "added", text: " was" }, { kind: "same", text: " deep and" },
    { kind: "added", text: " very" }, { kind: "same", text: " blue" }, { kind: "gone", text: "." }, { kind: "added", text: "!" },
  ]);
  assert.deepEqual(diff("same", "same"), [{ kind: "same", text: "same" }]);
  assert.deepEqual(diff("", ""), []);
});

test("the parts make up both texts", () => {
  const vocabulary = ["the ", "sea ", "sea, ", "is ", "blue", "\n", "deep ", "x"];
  let seed = 7;
  const next = (n: number) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
  const make = () => Array.from({ length: next(30) }, () => vocabulary[next(8)]).join("");
  for (let i = 0; i < 300; i++) {
    const a = make(), b = make();
    const parts = diff(a, b);
    assert.equal(text(parts, "gone"), b);
    assert.deepEqual(words(text(parts, "added")).map((w) => w.trim()).join(""), words(a).map((w) => w.trim()).join(""));
    assert.equal(text(diff(a, b, true), "gone"), b);
  }
});

test("while the first grows, what is ahead of it is not marked", () => {
  assert.deepEqual(diff("The sea", "The sea is deep", true), [{ kind: "same", text: "The sea is deep" }]);
  assert.equal(changed(diff("a b", "a c")), 0.5);
  assert.equal(changed([]), 0);
});

test("very long texts are not compared pair by pair", () => {
  const a = "a ".repeat(6000) + "x", b = "b ".repeat(6000) + "x";
  const parts = diff(a, b);
  assert.deepEqual(parts.map((p) => p.kind), ["gone", "added", "same"]);
});
