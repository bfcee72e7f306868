// The state that all tabs share: the request that is on screen, the conversations, the key, the models. Components read the signals; whoever changes
// one changes it everywhere, and it is kept in the browser.
import { batch, computed, effect, signal, type ReadonlySignal } from "@preact/signals";
import { ApiError, listModels, modelCard, setKeySource, type Aim, type ChatRequest, type FocusEntry, type Message, type Model, type ModelCard, type StepReport, type TokenLogprob } from "./api";
import { add, newConversation, path, type Conversation, type Node } from "./chat/tree";
import { all, get, load, loadJSON, put, remove, save, volatile } from "./db";
import { fit } from "./focus/entries";
import { bounded, loadOffer, type Group, type Offer } from "./params";

// ---- The request that is on screen. Every tab shows and edits the same.

interface Settings {
  model: string;
  params: Record<string, unknown>;
  utility: { level?: number; sigma?: number } | null;
  focus: FocusEntry[];
  record: boolean;
}

const kept: Partial<Settings> = loadJSON<Settings>("settings") ?? {};

/** The sampling parameters that a newcomer begins with: without chance, so that what changes is modulation, and answers that end. */
export const preset: Readonly<Record<string, unknown>> = { temperature: 0, max_completion_tokens: 300 };

export const draft = {
  /** The model's name; "" is the server's first. */
  model: signal(kept.model ?? ""),
  /** What the system says; it belongs to the conversation. */
  system: signal(""),
  /** What is typed and not sent; it belongs to the conversation. */
  prompt: signal(load("prompt") ?? ""),
  /** Sampling parameters, only those that were changed. */
  params: signal<Record<string, unknown>>(kept.params ?? { ...preset }),
  /** The utility asked for; null leaves it to the model. */
  utility: signal<{ level?: number; sigma?: number } | null>(kept.utility ?? null),
  /** The focus asked for; entries of strength 0 are shown and not sent. */
  focus: signal<FocusEntry[]>(kept.focus ?? []),
  /** Whether answers are asked for with what the inspector shows: log-probabilities and reports. */
  record: signal(kept.record ?? true),
};

effect(() => {
  const settings: Settings = {
    model: draft.model.value, params: draft.params.value, utility: draft.utility.value, focus: draft.focus.value, record: draft.record.value,
  };
  save("settings", JSON.stringify(settings));
});
effect(() => save("prompt", draft.prompt.value || null));

/** Sets a sampling parameter; undefined resets it to what the server takes by itself. */
export function setParam(name: string, value: unknown): void {
  const params = { ...draft.params.value };
  if (value === undefined) delete params[name];
  else params[name] = value;
  draft.params.value = params;
}

/** The field aim of the request on screen, for messages where it is known which; undefined where nothing is asked for. */
export function aimOf(messages?: readonly Message[]): Aim | undefined {
  const aim: Aim = {};
  const utility = draft.utility.value;
  if (utility && (utility.level !== undefined || utility.sigma !== undefined)) aim.utility = utility;
  const focus = messages ? fit(draft.focus.value, messages) : draft.focus.value.filter((f) => f.strength !== 0);
  if (focus.length > 0) aim.focus = focus;
  return aim.utility || aim.focus ? aim : undefined;
}

/** Messages of a conversation as the server takes them: without answers that said nothing. */
export function messagesOf(nodes: readonly Node[], system: string): Message[] {
  const list: Message[] = system.trim() ? [{ role: "system", content: system }] : [];
  for (const n of nodes) if (n.role === "user" || n.content) list.push({ role: n.role, content: n.content });
  return list;
}

/** A request for an answer to messages, with the settings on screen. With record it also asks for what the inspector shows. */
export function requestFor(messages: Message[], record = false): ChatRequest {
  const request: ChatRequest = { messages };
  if (draft.model.value) request.model = draft.model.value;
  Object.assign(request, draft.params.value);
  // What the user did not set himself is no reason for an error: the preset keeps to the model's bounds.
  for (const p of params.value.flatMap((g) => g.params)) {
    const value = preset[p.name];
    if (typeof value === "number" && request[p.name] === value) request[p.name] = Math.min(Math.max(value, p.min ?? value), p.max ?? value);
  }
  let aim = aimOf(messages);
  if (record) {
    const policy = card.value?.policy;
    if (policy?.logprobs !== false) Object.assign(request, { logprobs: true, top_logprobs: 10 });
    if (policy?.reports !== false) aim = { ...aim, report: { tokens: true } };
  }
  if (aim) request.aim = aim;
  return request;
}

/** The request that is on screen: the conversation as it is shown and then what is typed; where nothing is typed, up to the last message of the user. */
export function request(record = false): ChatRequest {
  const nodes = path(conversation.value);
  const typed = draft.prompt.value.trim();
  const messages = messagesOf(nodes, draft.system.value);
  if (typed) messages.push({ role: "user", content: draft.prompt.value });
  else while (messages[messages.length - 1]?.role === "assistant") messages.pop();
  return requestFor(messages, record);
}

// ---- Conversations.

/** All conversations, the latest first. */
export const conversations = signal<readonly Conversation[]>([]);
/** The one that is shown. */
export const conversation = signal<Conversation>(newConversation());
/** Whether what was kept has been read. */
export const restored = signal(false);

const dirty = new Set<string>();
let timer: ReturnType<typeof setTimeout> | undefined;

/** Writes what changed, soon. */
function schedule(id: string): void {
  dirty.add(id);
  timer ??= setTimeout(flush, 300);
}

function flush(): void {
  clearTimeout(timer);
  timer = undefined;
  for (const id of dirty) {
    const c = id === conversation.value.id ? conversation.value : conversations.value.find((x) => x.id === id);
    if (c && !empty(c)) put("conversations", id, c).catch((e: unknown) => toast(`This conversation cannot be kept: ${String(e)}`, "error"));
  }
  dirty.clear();
}

/** Whether there is nothing in a conversation that could be lost. */
function empty(c: Conversation): boolean {
  return Object.keys(c.nodes).length === 0 && !c.system && !c.prompt && !c.named;
}

/** Changes a conversation, by its id, and keeps it. */
export function updateConversation(id: string, f: (c: Conversation) => Conversation): void {
  batch(() => {
    const old = id === conversation.value.id ? conversation.value : conversations.value.find((c) => c.id === id);
    if (!old) return;
    const c = f(old);
    if (id === conversation.value.id) conversation.value = c;
    const others = conversations.value.filter((x) => x.id !== id);
    conversations.value = [c, ...others].filter((x) => !empty(x)).sort((a, b) => b.updated - a.updated);
  });
  schedule(id);
}

/** Adds a message to a conversation. */
export function addNode(id: string, node: Node): void {
  updateConversation(id, (c) => add(c, node));
}

/** Shows another conversation; what is typed and the system prompt are its own. */
export function openConversation(id: string): void {
  const c = conversations.value.find((x) => x.id === id);
  if (c && c.id !== conversation.value.id) show(c);
}

/** Begins a new conversation, unless the one that is shown is new. */
export function startConversation(): void {
  if (!empty({ ...conversation.value, prompt: draft.prompt.value })) show(newConversation());
}

/** Takes in a conversation from elsewhere, and shows it. */
export function takeConversation(c: Conversation): void {
  leave();
  batch(() => {
    conversations.value = [c, ...conversations.value];
    enter(c);
  });
  schedule(c.id);
}

function show(c: Conversation): void {
  leave();
  batch(() => enter(c));
}

function leave(): void {
  const { id } = conversation.value;
  const prompt = draft.prompt.value;
  if (prompt !== conversation.value.prompt) updateConversation(id, (c) => ({ ...c, prompt }));
}

function enter(c: Conversation): void {
  conversation.value = c;
  draft.system.value = c.system;
  draft.prompt.value = c.prompt;
}

/** Sets the system prompt of the conversation that is shown. */
export function setSystem(system: string): void {
  draft.system.value = system;
  updateConversation(conversation.value.id, (c) => ({ ...c, system }));
}

/** Deletes a conversation, and returns what brings it back. */
export function deleteConversation(id: string): () => void {
  const gone = conversations.value.find((c) => c.id === id);
  if (!gone) return () => {};
  batch(() => {
    conversations.value = conversations.value.filter((c) => c.id !== id);
    if (conversation.value.id === id) enter(newConversation());
  });
  remove("conversations", id).catch(() => {});
  return () => takeConversation(gone);
}

// ---- What the inspector shows, step by step, kept apart because it is large.

/** A token of an answer with what is known of its choice. */
export interface Step extends Partial<Omit<StepReport, "token" | "bytes">> {
  token: string;
  bytes: number[] | null;
  logprob: number | null;
  /** The most probable tokens of the modulated distribution. */
  top: { token: string; bytes: number[] | null; logprob: number }[];
}

/** Joins the log-probabilities of an answer and the steps of its report. */
export function joinSteps(logprobs: readonly TokenLogprob[], report: readonly StepReport[] | undefined): Step[] {
  const list: Step[] = [];
  for (let i = 0; i < Math.max(logprobs.length, report?.length ?? 0); i++) {
    const l = logprobs[i], r = report?.[i];
    list.push({ ...r, token: l?.token ?? r!.token, bytes: l?.bytes ?? r?.bytes ?? null, logprob: l?.logprob ?? null, top: l?.top_logprobs ?? [] });
  }
  return list;
}

/** The steps of an answer, by the id of its node; undefined where they were not recorded. */
export function loadSteps(node: string): Promise<Step[] | undefined> {
  return get<Step[]>("steps", node);
}

export function saveSteps(node: string, steps: Step[]): Promise<unknown> {
  return put("steps", node, steps);
}

// ---- The key.

/** The API key; "" is none. It leaves the browser in the header Authorization only. */
export const apiKey = signal(sessionKey() || load("key") || "");
/** Whether the key outlasts the browser's session. */
export const rememberKey = signal(load("key") !== null);

function sessionKey(): string {
  try {
    return sessionStorage.getItem("aim:key") ?? "";
  } catch {
    return "";
  }
}

effect(() => {
  const key = apiKey.value, remember = rememberKey.value;
  save("key", remember && key ? key : null);
  try {
    if (key) sessionStorage.setItem("aim:key", key);
    else sessionStorage.removeItem("aim:key");
  } catch {
    // refused: it lasts as long as the page
  }
});
setKeySource(() => apiKey.value);

// ---- The server.

export const models = signal<readonly Model[]>([]);
/** What the server said last when it was asked for its models; null is nothing wrong. */
export const trouble = signal<ApiError | null>(null);
/** Whether the server was asked and has not answered yet. */
export const connecting = signal(true);
/** What the server tells of its API; null where it was not asked yet. */
export const offer = signal<Offer | null>(null);
/** What may be done with the model of the draft; null where the server does not tell. */
export const card = signal<ModelCard | null>(null);

/** The model of the draft; undefined where there is none of its name. */
export const model: ReadonlySignal<Model | undefined> = computed(() => models.value.find((m) => m.id === draft.model.value) ?? (draft.model.value ? undefined : models.value[0]));

/** The parameters within the bounds of the model of the draft. */
export const params: ReadonlySignal<readonly Group[]> = computed(() => bounded(offer.value?.groups ?? [], card.value));

/** Asks the server for what it offers; what fails stands in trouble. */
export async function connect(): Promise<void> {
  connecting.value = true;
  try {
    const list = await listModels(); // alone first: it tells whether the server is there and takes the key
    const told = offer.value ?? (await loadOffer());
    batch(() => {
      models.value = list;
      offer.value = told;
      trouble.value = null;
      if (!list.some((m) => m.id === draft.model.value)) draft.model.value = list[0]?.id ?? "";
    });
  } catch (error) {
    trouble.value = error instanceof ApiError ? error : new ApiError(String(error), 0);
  } finally {
    connecting.value = false;
  }
}

/** Whether the server has an endpoint. */
export function offers(path: string): boolean {
  return offer.value?.paths.has(path) ?? false;
}

let asked = 0;
effect(() => {
  const id = draft.model.value;
  if (!models.value.some((m) => m.id === id)) return;
  if (!offers("/v1/aim/models/{id}")) {
    card.value = null;
    return;
  }
  const mine = ++asked;
  modelCard(id).then(
    (c) => {
      if (mine === asked) card.value = c;
    },
    () => {
      if (mine === asked) card.value = null;
    },
  );
});

/** Asks again what may be done with the model, after a calibration for one. */
export async function refreshCard(): Promise<void> {
  const mine = ++asked;
  const c = await modelCard(draft.model.value).catch(() => null);
  if (mine === asked) card.value = c;
}

// ---- The page.

export type Tab = "chat" | "compare" | "focus" | "inspect" | "owner";
export const tabs: readonly Tab[] = ["chat", "compare", "focus", "inspect", "owner"];
export const tab = signal<Tab>("chat");

export type Theme = "system" | "light" | "dark";
export const theme = signal<Theme>(((t) => (t === "light" || t === "dark" ? t : "system"))(load("theme")));

/** Whether the dialog for the API key is open. */
export const keyDialog = signal(false);

/** The answer that the inspector looks at; null is the last of the conversation. */
export const inspected = signal<string | null>(null);

export interface Toast {
  id: number;
  text: string;
  kind: "info" | "error";
  action?: { label: string; run: () => void };
}
export const toasts = signal<readonly Toast[]>([]);
let lastToast = 0;

/** Tells something in passing. */
export function toast(text: string, kind: Toast["kind"] = "info", action?: Toast["action"]): void {
  const t: Toast = { id: ++lastToast, text, kind, ...(action ? { action } : {}) };
  toasts.value = [...toasts.value.slice(-3), t];
  setTimeout(() => dismiss(t.id), action || kind === "error" ? 9000 : 4000);
}

export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((t) => t.id !== id);
}

/** Reads what was kept, before anything is shown. */
export async function restore(): Promise<void> {
  const list = await all<Conversation>("conversations").catch((): Conversation[] => []);
  // What the page before this one had no time to put into the database.
  for (const c of loadJSON<Conversation[]>("late") ?? []) {
    const at = list.findIndex((x) => x.id === c.id);
    if (at < 0) list.push(c);
    else if (list[at]!.updated <= c.updated) list[at] = c;
    put("conversations", c.id, c).catch(() => {});
  }
  save("late", null);
  batch(() => {
    // An answer that was being written when the page was closed ended there.
    const ended = list.map((c) => ({
      ...c,
      nodes: Object.fromEntries(Object.entries(c.nodes).map(([id, n]) => [id, n.state === "streaming" ? { ...n, state: "stopped" as const } : n])),
    }));
    conversations.value = ended.sort((a, b) => b.updated - a.updated);
    const current = ended.find((c) => c.id === load("current"));
    const prompt = draft.prompt.value;
    if (current) enter({ ...current, prompt: prompt || current.prompt });
    restored.value = true;
  });
  effect(() => save("current", conversation.value.id));
  if (await volatile()) toast("This browser keeps nothing for this page: export what you want to keep.", "error");
  addEventListener("pagehide", () => {
    leave();
    // A write that begins now may never end; this one is done when it returns.
    const late = [...dirty].map((id) => (id === conversation.value.id ? conversation.value : conversations.value.find((c) => c.id === id))).filter((c) => c && !empty(c));
    if (late.length > 0) save("late", JSON.stringify(late));
    flush();
  });
}
