// Answers while they are written: each runs by itself, also while another conversation is shown.
import { signal, type Signal } from "@preact/signals";
import { ApiError, aborted, pause, stream, type ChatRequest, type Chunk, type Report, type StepReport, type TokenLogprob } from "../api";
import { addNode, aimOf, card, conversation, conversations, draft, joinSteps, messagesOf, preset, requestFor, saveSteps, toast, trouble, updateConversation, connect, keyDialog } from "../store";
import { change, children, choose, lineage, newId, path, prune, type Conversation, type Failure, type Node, type Stats } from "./tree";

/** An answer that is being written. */
export interface Run {
  conversation: string;
  node: string;
  text: Signal<string>;
  reasoning: Signal<string>;
  /** Tokens so far. */
  tokens: Signal<number>;
  /** When it was asked for and when its first token came, of performance.now(). */
  started: number;
  first: Signal<number | null>;
  /** What the server said to wait for, and until when, in milliseconds since 1970. */
  waiting: Signal<{ message: string; until: number } | null>;
  stop: () => void;
}

/** The answers that are being written, by their nodes. */
export const runs = signal<ReadonlyMap<string, Run>>(new Map());

/** The answer that is being written in a conversation. */
export function runOf(id: string): Run | undefined {
  for (const r of runs.value.values()) if (r.conversation === id) return r;
  return undefined;
}

function find(id: string): Conversation | undefined {
  return conversation.value.id === id ? conversation.value : conversations.value.find((c) => c.id === id);
}

/** Sends what is typed. */
export function sendPrompt(): void {
  const text = draft.prompt.value;
  const c = conversation.value;
  if (!text.trim() || runOf(c.id)) return;
  const nodes = path(c);
  const last = nodes[nodes.length - 1];
  draft.prompt.value = "";
  // A question that was not answered is asked together with the next: templates want turns. Empty failed answers go.
  let parent = last ?? null;
  if (last?.role === "assistant" && last.content === "" && last.state !== "streaming") {
    updateConversation(c.id, (x) => prune(x, last.id));
    parent = last.parent === null ? null : (c.nodes[last.parent] ?? null);
  }
  const node: Node = { id: newId(), parent: parent?.id ?? null, role: "user", content: text, created: Date.now() };
  addNode(c.id, node);
  updateConversation(c.id, (x) => ({ ...x, prompt: "" }));
  answer(c.id, node.id);
}

/** Asks for another answer beside one; an answer that failed before it began is replaced. */
export function retry(id: string, node: string): void {
  const n = find(id)?.nodes[node];
  if (!n || n.parent === null || runOf(id)) return;
  if (n.content === "" && !n.reasoning) updateConversation(id, (c) => prune(c, node));
  answer(id, n.parent);
}

/** Sends a message of the user again, changed, beside what it was. */
export function resend(id: string, node: string, text: string): void {
  const n = find(id)?.nodes[node];
  if (!n || runOf(id) || !text.trim()) return;
  const edited: Node = { id: newId(), parent: n.parent, role: "user", content: text, created: Date.now() };
  addNode(id, edited);
  answer(id, edited.id);
}

/** Goes on with an answer that ended before it was whole. */
export function continueAnswer(id: string, node: string): void {
  const n = find(id)?.nodes[node];
  if (!n || runOf(id)) return;
  if (n.content === "") return retry(id, node);
  const c = find(id)!;
  updateConversation(id, (x) => change(choose(x, node), node, { state: "streaming", failure: null }));
  const messages = messagesOf(lineage(c, node), c.system);
  void run(id, { ...n, state: "streaming", failure: null }, { ...requestFor(messages), continue_final_message: true });
}

/** Asks for an answer to a message. */
function answer(id: string, parent: string): void {
  const c = find(id);
  if (!c) return;
  const messages = messagesOf(lineage(c, parent), c.system);
  const node: Node = {
    id: newId(), parent, role: "assistant", content: "", created: Date.now(), state: "streaming", failure: null, model: draft.model.value,
    asked: { params: draft.params.value, aim: aimOf(messages) ?? {}, system: c.system },
  };
  addNode(id, node);
  void run(id, node, requestFor(messages, draft.record.value && !unrecorded.has(draft.model.value)));
}

/** Models that do not tell what the inspector wants to know. */
const unrecorded = new Set<string>();

/** What came of an answer so far. */
interface Progress {
  text: string;
  reasoning: string;
  tokens: number;
  finish: string | null;
  stats: Stats;
  logprobs: TokenLogprob[];
  report: Report | null;
}

async function run(id: string, node: Node, request: ChatRequest): Promise<void> {
  const abort = new AbortController();
  const started = performance.now();
  const r: Run = {
    conversation: id, node: node.id, text: signal(node.content), reasoning: signal(node.reasoning ?? ""), tokens: signal(0), started, first: signal(null), waiting: signal(null),
    stop: () => abort.abort(),
  };
  runs.value = new Map(runs.value).set(node.id, r);
  const p: Progress = {
    text: node.content, reasoning: node.reasoning ?? "", tokens: 0, finish: null, stats: { tokens: 0, firstToken: null, total: null, usage: null, timings: null }, logprobs: [], report: null,
  };
  let failure: Failure | null = null, stopped = false;
  try {
    await follow(r, p, request, abort.signal);
  } catch (error) {
    if (aborted(error)) stopped = true;
    else failure = failureOf(error);
  }
  p.stats.total = performance.now() - started;
  p.stats.tokens = p.tokens;
  finish(r, p, failure, stopped);
}

/** Reads an answer into p, and shows it on the way. */
async function follow(r: Run, p: Progress, request: ChatRequest, signal: AbortSignal): Promise<void> {
  let shownAt = 0, keptAt = performance.now();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const show = () => {
    clearTimeout(timer);
    timer = undefined;
    shownAt = performance.now();
    r.text.value = p.text;
    r.reasoning.value = p.reasoning;
    r.tokens.value = p.tokens;
    if (shownAt - keptAt > 2000) { // so that little is lost where the page dies
      keptAt = shownAt;
      updateConversation(r.conversation, (c) => change(c, r.node, { content: p.text, reasoning: p.reasoning }));
    }
  };
  try {
    for (;;) {
      try {
        for await (const chunk of stream("/v1/chat/completions", { ...request, stream: true, stream_options: { include_usage: true } }, signal)) {
          r.waiting.value = null;
          take(r, p, chunk);
          timer ??= setTimeout(show, Math.max(0, 33 - (performance.now() - shownAt)));
        }
        return;
      } catch (error) {
        const next = p.tokens === 0 && !signal.aborted ? await another(r, error, request, signal) : null;
        if (!next) throw error;
        request = next;
      }
    }
  } finally {
    show();
  }
}

/** The request to try instead of one that failed, where that makes sense without asking the user; null where not. */
async function another(r: Run, error: unknown, request: ChatRequest, signal: AbortSignal): Promise<ChatRequest | null> {
  if (!(error instanceof ApiError)) return null;
  if (request.logprobs && (/^(top_)?logprobs|^aim\.report/.test(error.param ?? "") || error.code === "report_not_allowed")) {
    unrecorded.add(String(request.model ?? ""));
    const { logprobs: _l, top_logprobs: _t, aim, ...rest } = request;
    const { report: _r, ...kept } = aim ?? {};
    return Object.keys(kept).length > 0 ? { ...rest, aim: kept } : rest;
  }
  if (error.status === 503 && error.retryAfter !== null && error.retryAfter <= 120 && /calibrating|loading/.test(error.code ?? "")) {
    r.waiting.value = { message: error.message, until: Date.now() + 1000 * error.retryAfter };
    await pause(1000 * error.retryAfter, signal);
    return request;
  }
  return null;
}

function take(r: Run, p: Progress, chunk: Chunk): void {
  const choice = chunk.choices[0];
  const text = choice?.delta.content ?? "", thought = choice?.delta.reasoning_content ?? "";
  if (text || thought) {
    p.text += text;
    p.reasoning += thought;
    p.tokens++;
    if (p.stats.firstToken === null) {
      p.stats.firstToken = performance.now() - r.started;
      r.first.value = performance.now();
    }
  }
  if (choice?.logprobs?.content) p.logprobs.push(...choice.logprobs.content);
  if (choice?.finish_reason) p.finish = choice.finish_reason;
  if (chunk.usage) p.stats.usage = chunk.usage;
  if (chunk.timings) p.stats.timings = chunk.timings;
  if (chunk.aim?.report) p.report = chunk.aim.report;
}

/** Writes down what an answer became. */
function finish(r: Run, p: Progress, failure: Failure | null, stopped: boolean): void {
  const report = p.report?.choices[0];
  let steps: StepReport[] | undefined;
  const to: Partial<Node> = { content: p.text, state: failure ? "failed" : stopped ? "stopped" : "done", failure, finish: p.finish, stats: p.stats };
  if (p.reasoning) to.reasoning = p.reasoning;
  if (report) {
    const { tokens, ...rest } = report;
    steps = tokens;
    to.report = rest;
  }
  updateConversation(r.conversation, (c) => change(c, r.node, to));
  if (p.logprobs.length > 0 || steps) saveSteps(r.node, joinSteps(p.logprobs, steps)).catch(() => toast("The browser has no room for what the inspector would show of this answer.", "error"));
  const c = find(r.conversation), node = c?.nodes[r.node];
  if (c && node?.state === "done" && node.asked?.params["temperature"] === 0 && node.content && children(c, node.parent).some((n) => n.id !== node.id && n.content === node.content)) {
    toast("The same answer: at temperature 0 and with the same settings, nothing is left to chance.");
  }
  const rest = new Map(runs.value);
  rest.delete(r.node);
  runs.value = rest;
  if (failure?.status === 401) keyDialog.value = true;
  // A server that went away is told at the top of the page, which also says when it is back.
  if (failure?.code === "network" && !trouble.value) void connect();
}

function failureOf(error: unknown): Failure {
  if (!(error instanceof ApiError)) return { message: String(error), status: 0, code: "page", retryAt: null, requestId: null };
  return {
    message: error.message, status: error.status, code: error.code, param: error.param, requestId: error.requestId,
    retryAt: error.retryAfter === null ? null : Date.now() + 1000 * error.retryAfter,
  };
}

/** What is asked for beside the messages and the preset, in words, such as "level 0.7". */
export function settingsInWords(asked: Node["asked"]): string[] {
  if (!asked) return [];
  const list: string[] = [];
  const { utility, focus } = asked.aim;
  if (utility?.level !== undefined) list.push(`level ${utility.level}`);
  if (utility?.sigma !== undefined) list.push(`σ ${utility.sigma}`);
  for (const f of focus ?? []) {
    const words = f.span ?? (Array.isArray(f.text) ? f.text.join(", ") : (f.text ?? ""));
    list.push(`${f.strength > 0 ? "+" : "−"}${Math.abs(f.strength)} ${words.length > 24 ? words.slice(0, 22) + "…" : words}`);
  }
  for (const [name, value] of Object.entries(asked.params)) {
    if (value === preset[name]) continue;
    if (name === "max_completion_tokens") {
      list.push(`at most ${String(value)} tokens`);
      continue;
    }
    const text = typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? String(value) : "set";
    list.push(`${name.replaceAll("_", " ")} ${text.length > 24 ? "set" : text}`);
  }
  if (asked.params["temperature"] === undefined) list.push("temperature as the model has it");
  return list;
}

/** Whether the model of the draft says how it was modulated. */
export function records(): boolean {
  return draft.record.value && !unrecorded.has(draft.model.value) && card.value?.policy.reports !== false;
}
