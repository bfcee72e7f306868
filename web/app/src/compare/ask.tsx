// What Compare, Focus and Inspect ask: the prompt that is typed, after the conversation or alone, with the settings on screen.
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { signal } from "@preact/signals";
import type { ApiError, ChatRequest, Message } from "../api";
import { path } from "../chat/tree";
import { load, save } from "../db";
import { register } from "../shortcuts";
import { connect, conversation, draft, messagesOf, params, requestFor, setParam } from "../store";
import { Button, NumberField, Switch } from "../ui/controls";
import type { Run } from "./run";

/** Whether the conversation is left out. */
export const alone = signal(load("alone") === "on");
/** The seed that all answers share where none is set, so that nothing else differs. */
const ownSeed = signal(newSeed());
/** Tokens at most, where the settings say none. */
const length = 160;

function newSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]! >>> 2;
}

/** Asks the server again where it is away or wants a key, so that the page tells it. */
export function told(error: ApiError): void {
  if (error.status === 0 || error.status === 401) void connect();
}

/** The messages to answer; null where nothing is asked. */
export function askMessages(): Message[] | null {
  const nodes = alone.value ? [] : path(conversation.value);
  const list = messagesOf(nodes, draft.system.value);
  if (draft.prompt.value.trim()) list.push({ role: "user", content: draft.prompt.value });
  else while (list.at(-1)?.role === "assistant") list.pop();
  return list.some((m) => m.role === "user") ? list : null;
}

/** The request on screen, with a seed and a length. */
export function askRequest(messages: Message[]): ChatRequest {
  const request = requestFor(messages, draft.record.value);
  request["seed"] ??= ownSeed.value;
  request["max_completion_tokens"] ??= length;
  return request;
}

const samples = ["Tell me about the sea.", "Write a short story about a dog and a lighthouse.", "Explain photosynthesis to a child."];

/** The bar over answers: the prompt, what runs and stops them, and what else all of them share. */
export function AskBar({ part, run, onRun, label, prompt, children, more }: {
  /** The name of the tab. */
  part: string; run: Run; onRun: () => void; label: string;
  /** The field of the prompt. */
  prompt: ComponentChildren; children?: ComponentChildren; more?: ComponentChildren;
}) {
  const messages = askMessages();
  const before = path(conversation.value).length;
  const last = messages?.findLast((m) => m.role === "user")?.content ?? "";
  const temperature = draft.params.value["temperature"];
  const tokens = draft.params.value["max_completion_tokens"];
  const running = run.running.value;
  const go = () => {
    if (askMessages()) onRun();
  };
  useEffect(() => register(part, [
    { keys: "Mod+Enter", text: label, typing: true, run: go },
    { keys: "Escape", text: "Stop", typing: true, run: () => (run.running.value ? run.stop() : false) },
  ]));
  return (
    <div class="ask">
      {children}
      <div class="ask-prompt">
        {prompt}
        {running ? <Button kind="danger" icon="stop" onClick={() => run.stop()}>Stop all</Button> : <Button kind="primary" icon="play" disabled={!messages} onClick={go}>{label}</Button>}
      </div>
      {!messages && <p class="samples"><span class="muted">Try</span>{samples.map((s) => <button key={s} type="button" class="sample" onClick={() => (draft.prompt.value = s)}>{s}</button>)}</p>}
      {messages && !draft.prompt.value.trim() && <p class="hint">Nothing is typed, so the conversation's last question is asked again: “{last.length > 90 ? last.slice(0, 88) + "…" : last}”</p>}
      <div class="ask-row">
        <Switch label="Greedy" checked={temperature === 0} onChange={(on) => setParam("temperature", on ? 0 : undefined)} />
        <label class="inline-field">Tokens at most <NumberField value={typeof tokens === "number" ? tokens : length} min={1} max={params.value.flatMap((g) => g.params).find((p) => p.name === "max_completion_tokens")?.max} step={20} onChange={(v) => setParam("max_completion_tokens", v ?? undefined)} /></label>
        {temperature !== 0 && draft.params.value["seed"] === undefined && <Button small kind="quiet" icon="retry" title={`Seed ${ownSeed.value}, the same for all answers`} onClick={() => (ownSeed.value = newSeed())}>New seed</Button>}
        {before > 0 && <Switch label={`After the conversation (${before})`} checked={!alone.value} onChange={(on) => { alone.value = !on; save("alone", on ? null : "on"); }} />}
        {more}
      </div>
      {run.waiting.value && <p class="note wait" role="status"><span>{run.waiting.value}</span></p>}
    </div>
  );
}
