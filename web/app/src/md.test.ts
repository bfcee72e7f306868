import assert from "node:assert/strict";
import test from "node:test";
import { lex, mend } from "./md";

const whole = (text: string) => lex(text).map((t: { raw: string }) => t.raw).join("");

test("the tokens of a text make it up, also of one that is too much to parse", () => {
  const texts = [
    "# Head\n\nA *paragraph* of\ntwo lines.\n\n- a\n- b\n  - c\n\n```js\nlet x;\n```\n\n> quote\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nEnd",
    "[".repeat(30_000), ">".repeat(5000) + "x\n\nfine *text*\n\n" + "- ".repeat(500), "`".repeat(1000), "<div>".repeat(5000),
    "~~~\n" + "[".repeat(30_000) + "\n~~~\nafter", "    code\n\n\n\n", "",
  ];
  for (const text of texts) assert.equal(whole(text), text, text.slice(0, 40));
});

test("what is too much is plain, and what is beside it is not", () => {
  const kinds = lex("*before*\n\n" + "[".repeat(30_000) + "\n\n```py\n" + "x = [[[[\n".repeat(4000) + "```\n\nafter").filter((t: { type: string }) => t.type !== "space").map((t: { type: string }) => t.type);
  assert.deepEqual(kinds, ["paragraph", "html", "code", "paragraph"]);
});

test("what is open at the end of a growing text is closed, or left out", () => {
  for (const [text, want] of [
    ["so **bold", "so **bold**"], ["so **", "so "], ["a **b** c", "a **b** c"], ["call `f(", "call `f(`"], ["see [the docs](https://exa", "see the docs"],
    ["a line\n-", "a line"], ["a line\n1.", "a line"], ["a *word", "a *word*"], ["2 * 3", "2 * 3"], ["x\n\n```js\nlet a = `", "x\n\n```js\nlet a = `"], ["- a\n- b", "- a\n- b"], ["done **b**", "done **b**"],
  ] as const) assert.equal(mend(text), want, JSON.stringify(text));
});
