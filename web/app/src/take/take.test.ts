import assert from "node:assert/strict";
import test from "node:test";
import { spawnSync } from "node:child_process";
import { add, newConversation } from "../chat/tree";
import { pythonValue, toCode, type Asked } from "./code";
import { fromJSON, toJSON, toMarkdown } from "./export";
import { fromFragment, toFragment, type Shared } from "./share";

const chat: Asked = {
  path: "/v1/chat/completions",
  body: {
    model: "a/b", messages: [{ role: "user", content: "It's \"5 o'clock\"\n\\ $HOME `x` ünï 🎉 \u2028" }], temperature: 0, top_k: 40, ignore_eos: true,
    aim: { utility: { level: 0.7 }, focus: [{ text: ["water"], strength: -1 }] }, stream: true,
  },
};
const place = { origin: "http://127.0.0.1:8080", key: true };

test("curl sends exactly the request", () => {
  const code = toCode("curl", chat, place);
  const run = spawnSync("sh", ["-c", `curl() { while [ $# -gt 0 ]; do [ "$1" = -d ] && printf %s "$2"; shift; done; }\n${code}`], { encoding: "utf8" });
  assert.deepEqual(JSON.parse(run.stdout), chat.body);
  assert.match(code, /Bearer \$AIM_API_KEY/);
});

test("Python reads the values as they were", () => {
  const run = spawnSync("python3", ["-c", `import json\nprint(json.dumps(${pythonValue({ ...chat.body, none: null })}))`], { encoding: "utf8" });
  if (run.error) return; // there is no Python here
  assert.deepEqual(JSON.parse(run.stdout), { ...chat.body, none: null });
  const code = toCode("python", chat, place);
  assert.equal(spawnSync("python3", ["-c", "import ast, sys; ast.parse(sys.stdin.read())"], { input: code }).status, 0, code);
  assert.match(code, /extra_body=\{\n? *"top_k": 40/);
});

test("JavaScript passes the values as they were", () => {
  const code = toCode("javascript", chat, place);
  const call = /create\(([\s\S]*?)\);\nfor/.exec(code)![1]!;
  assert.deepEqual((0, eval)(`(${call})`), chat.body);
});

test("other endpoints are asked by their path", () => {
  const sweep = { path: "/v1/aim/sweep", body: { prompt: "x", levels: [1, 0.5] } };
  assert.match(toCode("python", sweep, place), /client\.post\("\/aim\/sweep", cast_to=object, body=\{"prompt": "x", "levels": \[1, 0\.5\]\}\)/);
  assert.match(toCode("javascript", sweep, { ...place, key: false }), /client\.post\("\/aim\/sweep", \{ body: \{ prompt: "x", levels: \[1, 0\.5\] \} \}\)/);
});

test("links carry the settings and nothing else", async () => {
  const shared: Shared = { tab: "focus", model: "m", system: "s", prompt: "héllo", params: { temperature: 0 }, utility: { level: 0.5 }, focus: [{ text: "water", strength: 0.5 }] };
  const fragment = await toFragment(shared);
  assert.match(fragment, /^#s=[\w-]+$/);
  assert.deepEqual(await fromFragment(fragment), shared);
  assert.equal(await fromFragment("#/chat"), null);
  await assert.rejects(fromFragment("#s=AAAA"));
  const odd = await toFragment({ ...shared, tab: "nowhere", focus: [3, { strength: "x" }], params: [1], utility: "no" } as unknown as Shared);
  assert.deepEqual(await fromFragment(odd), { ...shared, tab: "chat", focus: [], params: {}, utility: null });
});

test("a conversation is exported and imported", () => {
  let c = newConversation();
  c = add(c, { id: "a", parent: null, role: "user", content: "Hi", created: 1 });
  c = add(c, { id: "b", parent: "a", role: "assistant", content: "Hello", created: 2, state: "done", model: "m", asked: { params: { temperature: 0 }, aim: { utility: { level: 0.7 } }, system: "" } });
  assert.equal(toMarkdown(c), '# Hi\n\n## You\n\nHi\n\n## m\n\n`{"temperature":0,"aim":{"utility":{"level":0.7}}}`\n\nHello\n');
  const back = fromJSON(toJSON([c]))[0]!;
  assert.deepEqual({ ...back, id: c.id }, c);
  assert.throws(() => fromJSON("x"), /no JSON/);
  assert.throws(() => fromJSON("[]"), /no export/);
});
