// A message: its text, what can be done with it, and of an answer its counters and how it ended.
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { loadJSON, save } from "../db";
import { conversation, draft, inspected, keyDialog, setParam, tab, updateConversation } from "../store";
import { Button, CopyButton, Growing, IconButton, Spinner } from "../ui/controls";
import { Icon } from "../ui/icons";
import { MarkdownText } from "./markdown";
import { continueAnswer, resend, retry, runOf, runs, settingsInWords, type Run } from "./run";
import { children, choose, type Failure, type Node } from "./tree";

/** Messages that are being edited, with what is typed, by their nodes. They outlast the page. */
export const edits = signal<Record<string, string>>(loadJSON("edits") ?? {});

/** Begins or goes on to edit a message; null ends it. */
export function edit(node: string, text: string | null): void {
  const { [node]: _, ...rest } = edits.value;
  edits.value = text === null ? rest : { ...rest, [node]: text };
  save("edits", Object.keys(edits.value).length > 0 ? JSON.stringify(edits.value) : null);
}

export function MessageView({ node, last }: { node: Node; last: boolean }) {
  return node.role === "user" ? <Question node={node} /> : <Answer node={node} last={last} />;
}

function Question({ node }: { node: Node }) {
  const editing = edits.value[node.id];
  const busy = runOf(conversation.value.id) !== undefined;
  if (editing !== undefined) return <Editor node={node} text={editing} busy={busy} />;
  return (
    <article class="message user" aria-label="You">
      <div class="bubble">{node.content}</div>
      <footer class="actions">
        <Siblings node={node} />
        <IconButton icon="edit" size={16} label="Edit and send again" onClick={() => edit(node.id, node.content)} />
        <CopyButton quiet label="Copy message" text={() => node.content} />
      </footer>
    </article>
  );
}

function Editor({ node, text, busy }: { node: Node; text: string; busy: boolean }) {
  const send = () => {
    if (busy || !text.trim()) return;
    edit(node.id, null);
    resend(conversation.value.id, node.id, text);
  };
  return (
    <article class="message user" aria-label="You">
      <div class="editor">
        <Growing
          value={text} onInput={(t) => edit(node.id, t)} aria-label="Edit the message" autofocus
          inputRef={(e) => { if (e && document.activeElement === document.body) e.focus(); }}
          onKeyDown={(e) => {
            if (e.key === "Escape") edit(node.id, null);
            else if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
              e.preventDefault();
              send();
            }
          }}
        />
        <div class="row end">
          <Button small onClick={() => edit(node.id, null)}>Cancel</Button>
          <Button small kind="primary" disabled={busy || !text.trim()} onClick={send}>Send</Button>
        </div>
      </div>
    </article>
  );
}

/** Which of several messages in the same place is shown, and the way to the others. */
function Siblings({ node }: { node: Node }) {
  const all = children(conversation.value, node.parent);
  if (all.length < 2) return null;
  const at = all.findIndex((n) => n.id === node.id);
  const go = (by: number) => updateConversation(conversation.value.id, (c) => ({ ...choose(c, all[(at + by + all.length) % all.length]!.id), updated: c.updated }));
  const what = node.role === "user" ? "version" : "answer";
  return (
    <span class="siblings" role="group" aria-label={`${what} ${at + 1} of ${all.length}`}>
      <IconButton icon="left" size={15} label={`Previous ${what}`} disabled={at === 0} onClick={() => go(-1)} />
      <span aria-hidden="true">{at + 1}/{all.length}</span>
      <IconButton icon="right" size={15} label={`Next ${what}`} disabled={at === all.length - 1} onClick={() => go(1)} />
    </span>
  );
}

function Answer({ node, last }: { node: Node; last: boolean }) {
  const run = runs.value.get(node.id);
  const id = conversation.value.id;
  const busy = runOf(id) !== undefined;
  const text = run ? run.text.value : node.content;
  const reasoning = run ? run.reasoning.value : (node.reasoning ?? "");
  const words = settingsInWords(node.asked);
  return (
    <article class={`message assistant${last ? " last" : ""}`} aria-label={`Answer of ${node.model ?? "the model"}`} aria-busy={run !== undefined}>
      {words.length > 0 && <p class="asked" aria-label="Asked for with">{words.map((w) => <span key={w} class="setting-tag">{w}</span>)}</p>}
      {reasoning && <details class="thoughts" open={run !== undefined && text === ""}><summary>Thoughts</summary><MarkdownText text={reasoning} growing={run !== undefined} /></details>}
      {text ? <MarkdownText text={text} growing={run !== undefined} /> : run ? <Waiting run={run} /> : !node.failure && <p class="muted"><i>{node.state === "stopped" ? "Stopped before the first word." : "An empty answer."}</i></p>}
      {node.failure && <FailureCard node={node} failure={node.failure} busy={busy} />}
      <footer class="actions">
        {run ? <Speed run={run} /> : (
          <>
            <Siblings node={node} />
            {node.content && <CopyButton quiet label="Copy answer" text={() => node.content} />}
            {!node.failure && <IconButton icon="retry" size={16} label="Answer again" disabled={busy} onClick={() => retry(id, node.id)} />}
            {node.stats && node.content && <IconButton icon="inspect" size={16} label="Look at its tokens" onClick={() => { inspected.value = node.id; tab.value = "inspect"; }} />}
            {node.content && (node.state === "stopped" || node.finish === "length") && !node.failure && <Button small kind="quiet" icon="play" disabled={busy} onClick={() => continueAnswer(id, node.id)}>Continue</Button>}
            <Counters node={node} />
          </>
        )}
      </footer>
    </article>
  );
}

/** Before the first token: what is being waited for. */
function Waiting({ run }: { run: Run }) {
  const waiting = run.waiting.value;
  if (!waiting) return <p class="dots" role="status"><span class="offscreen">Waiting for the first word</span><i /><i /><i /></p>;
  return <div class="notice" role="status"><Spinner label="Waiting" /><span>{sentence(waiting.message)} Asking again <Countdown until={waiting.until} />.</span></div>;
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
}

/** "in 7 s", and less from second to second. */
export function Countdown({ until }: { until: number }) {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, []);
  const left = Math.ceil((until - now) / 1000);
  return <span class="countdown">{left > 0 ? `in ${left} s` : "now"}</span>;
}

/** Counters while an answer is written. */
function Speed({ run }: { run: Run }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 500);
    return () => clearInterval(timer);
  }, []);
  if (run.first.value === null && run.text.value === "") return null;
  const n = run.tokens.value, first = run.first.value;
  const rate = first !== null && n > 2 ? (n - 1) / ((performance.now() - first) / 1000) : null;
  return <span class="counters"><b>{n}</b> tokens{rate !== null && <> · {rate.toFixed(1)} tokens/s</>}{first !== null && <> · first after {seconds(first - run.started)}</>}</span>;
}

export function seconds(ms: number): string {
  return ms < 995 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 9950 ? 2 : 1)} s`;
}

/** Counters of an answer that ended. */
function Counters({ node }: { node: Node }) {
  const s = node.stats;
  if (!s) return null;
  const parts: string[] = [];
  const n = s.usage?.completion_tokens ?? s.tokens;
  if (n > 0) parts.push(`${n} ${n === 1 ? "token" : "tokens"}`);
  const rate = s.timings && s.timings.predicted_n > 1 ? s.timings.predicted_per_second : s.firstToken !== null && s.total !== null && s.tokens > 2 ? (1000 * (s.tokens - 1)) / (s.total - s.firstToken) : null;
  if (rate !== null) parts.push(`${rate.toFixed(1)} tokens/s`);
  if (s.firstToken !== null) parts.push(`first after ${seconds(s.firstToken)}`);
  const details: string[] = [];
  if (s.usage) details.push(`Prompt: ${s.usage.prompt_tokens} tokens, ${s.usage.prompt_tokens_details?.cached_tokens ?? 0} of them cached`);
  if (s.timings) details.push(`Prompt computed in ${seconds(s.timings.prompt_ms)}, answer in ${seconds(s.timings.predicted_ms)}`);
  if (s.total !== null) details.push(`In all ${seconds(s.total)}`);
  if (node.report?.flips != null) parts.push(`${node.report.flips} flipped`);
  if (node.report && node.report.hits > 0) parts.push(`${node.report.hits} ${node.report.hits === 1 ? "hit" : "hits"}`);
  if (node.finish === "length") parts.push("cut at the most tokens");
  if (node.state === "stopped") parts.push("stopped");
  return <span class="counters" title={details.join("\n")}>{parts.join(" · ")}</span>;
}

/** What went wrong, and what can be done about it. */
function FailureCard({ node, failure, busy }: { node: Node; failure: Failure; busy: boolean }) {
  const id = conversation.value.id;
  const again = () => retry(id, node.id);
  const culprit = settingAtFault(failure.param ?? null);
  return (
    <div class="failure" role="alert">
      <Icon name="warning" />
      <div>
        <p><b>{headline(failure)}</b></p>
        <p>{sentence(failure.message)}</p>
        <div class="row">
          {failure.status === 401 && <Button small kind="primary" icon="key" onClick={() => (keyDialog.value = true)}>Enter a key</Button>}
          {culprit && <Button small disabled={busy} onClick={() => { culprit.reset(); again(); }}>Reset {culprit.label} and retry</Button>}
          {node.content && <Button small icon="play" disabled={busy} onClick={() => continueAnswer(id, node.id)}>Continue</Button>}
          <Button small icon="retry" disabled={busy} onClick={again}>Retry{failure.retryAt !== null && failure.retryAt > Date.now() && <> <Countdown until={failure.retryAt} /></>}</Button>
          {failure.requestId && <span class="hint">request <code>{failure.requestId}</code></span>}
        </div>
      </div>
    </div>
  );
}

/** The setting that a failure names, and how to reset it. */
function settingAtFault(param: string | null): { label: string; reset: () => void } | null {
  const name = /^[a-z_]+/.exec(param ?? "")?.[0] ?? "";
  if (param?.startsWith("aim.utility") && draft.utility.value) return { label: "utility", reset: () => (draft.utility.value = null) };
  if (param?.startsWith("aim.focus") && draft.focus.value.length > 0) return { label: "focus", reset: () => (draft.focus.value = []) };
  if (draft.params.value[name] !== undefined) return { label: name.replaceAll("_", " "), reset: () => setParam(name, undefined) };
  return null;
}

function headline(f: Failure): string {
  switch (f.status) {
    case 0: return f.code === "network" ? "No connection" : f.code === "cut" ? "The connection broke off; what came so far is kept" : "The answer failed";
    case 400: return "The server does not take this request";
    case 401: return "An API key is needed";
    case 403: return "Not allowed";
    case 404: return "Not found";
    case 413: return "Too long";
    case 429: return "Too many requests";
    case 503: return "The server is not ready";
    default: return `The server answered ${f.status}`;
  }
}
