// Links that carry the settings and the prompt in the fragment of the address, which is sent to no server. The key is never in one.
import type { FocusEntry } from "../api";
import { path } from "../chat/tree";
import { conversation, draft, models, setSystem, startConversation, tab, tabs, toast, type Tab } from "../store";

/** What a link carries. */
export interface Shared {
  tab: Tab;
  model: string;
  system: string;
  prompt: string;
  params: Record<string, unknown>;
  utility: { level?: number; sigma?: number } | null;
  focus: FocusEntry[];
}

/** The settings on screen, and what is typed, or else the last message of the user. */
export function snapshot(): Shared {
  const last = path(conversation.value).findLast((n) => n.role === "user")?.content ?? "";
  return {
    tab: tab.value, model: draft.model.value, system: draft.system.value, prompt: draft.prompt.value.trim() ? draft.prompt.value : last,
    params: draft.params.value, utility: draft.utility.value, focus: draft.focus.value,
  };
}

async function through(bytes: Uint8Array<ArrayBuffer>, stream: CompressionStream | DecompressionStream, most: number): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = new Blob([bytes]).stream().pipeThrough(stream as unknown as TransformStream<Uint8Array<ArrayBuffer>, Uint8Array>).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > most) throw new Error("the link holds too much");
    parts.push(value);
  }
  return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
}

/** A fragment that carries what is shared. */
export async function toFragment(s: Shared): Promise<string> {
  const packed = await through(new TextEncoder().encode(JSON.stringify({ v: 1, ...s })) as Uint8Array<ArrayBuffer>, new CompressionStream("deflate-raw"), 1 << 24);
  let text = "";
  for (const b of packed) text += String.fromCharCode(b);
  return "#s=" + btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Reads a fragment; null where it carries nothing. It fails where it is broken. What is of another type than it should be is left out. */
export async function fromFragment(fragment: string): Promise<Shared | null> {
  const packed = /^#s=([\w-]+)$/.exec(fragment)?.[1];
  if (!packed) return null;
  const bytes = Uint8Array.from(atob(packed.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const v = JSON.parse(new TextDecoder().decode(await through(bytes, new DecompressionStream("deflate-raw"), 1 << 22))) as Record<string, unknown>;
  const text = (x: unknown) => (typeof x === "string" ? x : "");
  const object = (x: unknown): x is Record<string, unknown> => typeof x === "object" && x !== null && !Array.isArray(x);
  const number = (x: unknown) => typeof x === "number" && Number.isFinite(x);
  const utility = object(v["utility"]) ? v["utility"] : {};
  const focus = (Array.isArray(v["focus"]) ? v["focus"] : []).filter((f): f is FocusEntry => {
    if (!object(f) || !number(f["strength"])) return false;
    const words = f["text"];
    return typeof f["span"] === "string" || typeof words === "string" || (Array.isArray(words) && words.every((w) => typeof w === "string"));
  });
  return {
    tab: tabs.find((t) => t === v["tab"]) ?? "chat", model: text(v["model"]), system: text(v["system"]), prompt: text(v["prompt"]),
    params: object(v["params"]) ? v["params"] : {},
    utility: number(utility["level"]) ? { level: utility["level"] as number } : number(utility["sigma"]) ? { sigma: utility["sigma"] as number } : null,
    focus: focus.slice(0, 64),
  };
}

/** Puts what a link carries on screen, in a conversation of its own. */
export function apply(s: Shared): void {
  const before = { model: draft.model.value, params: draft.params.value, utility: draft.utility.value, focus: draft.focus.value };
  const put = (t: typeof before) => {
    draft.model.value = t.model;
    draft.params.value = t.params;
    draft.utility.value = t.utility;
    draft.focus.value = t.focus;
  };
  put({ ...s, model: s.model || before.model });
  startConversation();
  if (s.system || s.prompt) {
    setSystem(s.system);
    draft.prompt.value = s.prompt;
  }
  tab.value = s.tab;
  const known = models.value.length === 0 || !s.model || models.value.some((m) => m.id === s.model);
  toast(known ? "The settings of the link are in use." : `The settings of the link are in use, but this server has no ${s.model}.`, "info", { label: "Take back", run: () => put(before) });
}

/** A whole link to what is on screen. */
export async function shareLink(): Promise<string> {
  return location.origin + location.pathname + (await toFragment(snapshot()));
}

