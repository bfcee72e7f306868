import assert from "node:assert/strict";
import test from "node:test";
import { add, children, choose, lineage, newConversation, parseConversation, path, prune, titleOf, type Conversation, type Node } from "./tree";

const node = (id: string, parent: string | null, role: Node["role"] = "user"): Node => ({ id, parent, role, content: id, created: 1 });
const ids = (list: Node[]) => list.map((n) => n.id).join(" ");

/** a - b - c, then a second answer d to a, and an edited first message e. */
function tree(): Conversation {
  let c = newConversation();
  c = add(c, node("a", null));
  c = add(c, node("b", "a", "assistant"));
  c = add(c, node("c", "b"));
  c = add(c, node("d", "a", "assistant"));
  return add(c, node("e", null));
}

test("siblings are kept, and the chosen ones shown", () => {
  let c = tree();
  assert.equal(ids(path(c)), "e");
  assert.equal(ids(children(c, "a")), "b d");
  c = choose(c, "a");
  assert.equal(ids(path(c)), "a d");
  c = choose(c, "c");
  assert.equal(ids(path(c)), "a b c");
  assert.equal(ids(lineage(c, "c")), "a b c");
  assert.equal(c.title, "a");
});

test("pruning takes what follows along", () => {
  const c = prune(choose(tree(), "c"), "b");
  assert.equal(ids(Object.values(c.nodes)), "a d e");
  assert.equal(ids(path(c)), "a d");
});

test("what was exported can be imported, and what is broken not", () => {
  const c = tree();
  const back = parseConversation(JSON.parse(JSON.stringify(c)));
  assert.deepEqual({ ...back, id: c.id }, c);
  for (const wrong of [null, 3, {}, { nodes: { x: {} } }, { nodes: { x: { role: "user", content: "", parent: "y" } } }]) {
    assert.throws(() => parseConversation(wrong), /no conversation/);
  }
});

test("titles are short", () => {
  assert.equal(titleOf("  Hello\nworld"), "Hello");
  assert.equal(titleOf("x".repeat(100)).length, 58);
});
