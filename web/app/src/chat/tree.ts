// A conversation is a tree: an edited message and a repeated answer become siblings of what they replace, and nothing is lost.
import type { Aim, ChoiceReport, Timings, Usage } from "../api";

/** How an answer ended, or that it did not yet. */
export type State = "streaming" | "done" | "stopped" | "failed";

/** What is told of an answer's failure. */
export interface Failure {
  message: string;
  status: number;
  code: string | null;
  /** The field at fault. */
  param?: string | null;
  /** When to try again, in milliseconds since 1970; null where the server does not say. */
  retryAt: number | null;
  requestId: string | null;
}

/** Counters of an answer. Times are in milliseconds, as the page saw them. */
export interface Stats {
  /** Tokens that came, as far as the page can tell. */
  tokens: number;
  firstToken: number | null;
  total: number | null;
  usage: Usage | null;
  timings: Timings | null;
}

export interface Node {
  id: string;
  /** The message before; null for the first. */
  parent: string | null;
  role: "user" | "assistant";
  content: string;
  reasoning?: string;
  created: number;
  /** Of an answer: */
  state?: State;
  failure?: Failure | null;
  finish?: string | null;
  model?: string;
  stats?: Stats;
  /** What modulation did; without the steps, which are kept apart. */
  report?: ChoiceReport | null;
  /** The settings it was asked for with. */
  asked?: { params: Record<string, unknown>; aim: Aim; system: string };
}

export interface Conversation {
  id: string;
  title: string;
  /** Whether the user named it. */
  named: boolean;
  created: number;
  updated: number;
  system: string;
  /** What is typed and not sent. */
  prompt: string;
  /** In the order in which they were made. */
  nodes: Record<string, Node>;
  /** Which child is shown, by parent; "" is the parent of the first. */
  chosen: Record<string, string>;
}

/** A name that nothing else has. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return "n" + Array.from(bytes, (b) => b.toString(36).padStart(2, "0")).join("");
}

export function newConversation(now: number = Date.now()): Conversation {
  return { id: newId(), title: "", named: false, created: now, updated: now, system: "", prompt: "", nodes: {}, chosen: {} };
}

/** The children of a node, or the first messages, in the order in which they were made. */
export function children(c: Conversation, parent: string | null): Node[] {
  return Object.values(c.nodes).filter((n) => n.parent === parent);
}

/** The messages that are shown, from the first on. */
export function path(c: Conversation): Node[] {
  const list: Node[] = [];
  const below = new Map<string | null, Node[]>();
  for (const n of Object.values(c.nodes)) {
    const all = below.get(n.parent);
    if (all) all.push(n);
    else below.set(n.parent, [n]);
  }
  for (let parent: string | null = null; ; ) {
    const all: Node[] = below.get(parent) ?? [];
    below.delete(parent); // so that a circle, which only a broken import could have, ends
    const next: Node | undefined = all.find((n) => n.id === c.chosen[parent ?? ""]) ?? all[all.length - 1];
    if (!next) return list;
    list.push(next);
    parent = next.id;
  }
}

/** The messages that lead to a node, itself last. */
export function lineage(c: Conversation, id: string | null): Node[] {
  const list: Node[] = [];
  for (let n = id === null ? undefined : c.nodes[id]; n && !list.includes(n); n = n.parent === null ? undefined : c.nodes[n.parent]) list.unshift(n);
  return list;
}

/** A conversation with one more node, which is shown. */
export function add(c: Conversation, node: Node): Conversation {
  return {
    ...c,
    updated: node.created,
    title: c.title || c.named || node.role !== "user" ? c.title : titleOf(node.content),
    nodes: { ...c.nodes, [node.id]: node },
    chosen: { ...c.chosen, [node.parent ?? ""]: node.id },
  };
}

/** A conversation with a node changed. */
export function change(c: Conversation, id: string, to: Partial<Node>): Conversation {
  const node = c.nodes[id];
  return node ? { ...c, nodes: { ...c.nodes, [id]: { ...node, ...to } } } : c;
}

/** A conversation in which a node is shown, and what leads to it. */
export function choose(c: Conversation, id: string): Conversation {
  const chosen = { ...c.chosen };
  for (const n of lineage(c, id)) chosen[n.parent ?? ""] = n.id;
  return { ...c, chosen };
}

/** A conversation without a node and what follows it. */
export function prune(c: Conversation, id: string): Conversation {
  const nodes: Record<string, Node> = {};
  const gone = new Set([id]);
  for (const n of Object.values(c.nodes)) {
    if (gone.has(n.id) || (n.parent !== null && gone.has(n.parent))) gone.add(n.id);
    else nodes[n.id] = n;
  }
  const chosen = Object.fromEntries(Object.entries(c.chosen).filter(([parent, child]) => !gone.has(parent) && !gone.has(child)));
  return { ...c, nodes, chosen };
}

/** The first line of a message, shortened. */
export function titleOf(text: string): string {
  const line = text.trim().split("\n", 1)[0]!.trim();
  return line.length > 60 ? line.slice(0, 57).trimEnd() + "…" : line;
}

/** What is read of a node that was exported: of an answer's counters only what can be shown without trusting it. */
function readNode(id: string, n: Record<string, unknown>, created: number): Node {
  const node: Node = { id, parent: n["parent"] as string | null, role: n["role"] as Node["role"], content: n["content"] as string, created };
  for (const k of ["reasoning", "finish", "model"] as const) if (typeof n[k] === "string") node[k] = n[k];
  if (node.role === "assistant" && n["state"] !== undefined) node.state = n["state"] === "done" ? "done" : "stopped";
  const asked = n["asked"] as Node["asked"];
  const object = (x: unknown) => typeof x === "object" && x !== null && !Array.isArray(x);
  if (object(asked) && object(asked!.params) && object(asked!.aim)) {
    const focus = Array.isArray(asked!.aim.focus) ? asked!.aim.focus.filter((f) => object(f) && typeof f.strength === "number") : undefined;
    const utility = object(asked!.aim.utility) ? asked!.aim.utility : undefined;
    node.asked = { params: asked!.params, aim: { ...(utility ? { utility } : {}), ...(focus ? { focus } : {}) }, system: String(asked!.system ?? "") };
  }
  return node;
}

/** Makes a conversation of what was exported, or fails with a message that says what is wrong with it. */
export function parseConversation(value: unknown): Conversation {
  const bad = (what: string): never => {
    throw new Error(`this is no conversation: ${what}`);
  };
  if (typeof value !== "object" || value === null) return bad("it is no object");
  const v = value as Record<string, unknown>;
  if (typeof v["nodes"] !== "object" || v["nodes"] === null) return bad("it has no nodes");
  const text = (x: unknown) => (typeof x === "string" ? x : "");
  const time = (x: unknown) => (typeof x === "number" && Number.isFinite(x) ? x : Date.now());
  const nodes: Record<string, Node> = {};
  for (const [id, raw] of Object.entries(v["nodes"] as Record<string, unknown>)) {
    if (typeof raw !== "object" || raw === null) return bad(`node ${id} is no object`);
    const n = raw as Record<string, unknown>;
    if (n["role"] !== "user" && n["role"] !== "assistant") return bad(`the role of node ${id} is neither user nor assistant`);
    if (typeof n["content"] !== "string") return bad(`node ${id} has no content`);
    if (n["parent"] !== null && typeof n["parent"] !== "string") return bad(`node ${id} has no parent`);
    if (typeof n["parent"] === "string" && !nodes[n["parent"]]) return bad(`the parent of node ${id} is not before it`);
    nodes[id] = readNode(id, n, time(n["created"]));
  }
  const chosen: Record<string, string> = {};
  if (typeof v["chosen"] === "object" && v["chosen"] !== null) {
    for (const [parent, child] of Object.entries(v["chosen"] as Record<string, unknown>)) if (typeof child === "string") chosen[parent] = child;
  }
  return {
    id: newId(), title: text(v["title"]), named: v["named"] === true, created: time(v["created"]), updated: time(v["updated"]),
    system: text(v["system"]), prompt: text(v["prompt"]), nodes, chosen,
  };
}
