// An answer beside others: its text with marks, what it cost, and what modulation did to it.
import type { ComponentChildren, RefObject } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { inspectAnswer } from "../inspect/target";
import { joinSteps, type Step } from "../store";
import { Button, CopyButton, IconButton, Spinner } from "../ui/controls";
import { Icon } from "../ui/icons";
import { changed, diff, type Part } from "./diff";
import { speedOf, tokensOf, type Column } from "./run";

/** What the inspector shows of an answer; null where nothing was recorded. */
export function stepsOf(c: Column): Step[] | null {
  return c.logprobs.length > 0 || c.report?.tokens ? joinSteps(c.logprobs, c.report?.tokens) : null;
}

function over(c: Column): boolean {
  return c.state === "done" || c.state === "stopped" || c.state === "failed";
}

/** A column. base is what its text is compared with; text draws its text otherwise. */
export function AnswerColumn({ part, name, head, column: c, base, gone, empty, text, facts, onRetry, onRemove, series }: {
  part: string; name: string; head: ComponentChildren; column: Column | undefined; base?: Column | undefined; gone?: boolean; empty: string;
  text?: (text: string) => ComponentChildren; facts?: ComponentChildren; onRetry: () => void; onRemove?: (() => void) | undefined; series: number;
}) {
  const parts = useMemo(() => (c && base && base !== c ? diff(base.text, c.text, !over(base) || !over(c)) : null), [c?.text, c?.state, base?.text, base?.state]);
  const steps = c && over(c) ? stepsOf(c) : null;
  const body = useRef<HTMLDivElement>(null);
  useFollow(body, c?.text ?? "");
  return (
    <section class={`answer series-${series}`} aria-label={name}>
      <header>
        {head}
        {onRemove && <IconButton icon="close" size={15} label={`Remove ${name}`} class="answer-remove" onClick={onRemove} />}
      </header>
      <div class="answer-text" ref={body} tabIndex={0} role="group" aria-label={`${name}, answer`}>
        {c?.text ? (text ? text(c.text) : parts ? <Marked parts={parts} gone={gone ?? false} /> : c.text) : null}
        {c?.state === "waiting" && <Spinner label="Waiting" />}
        {c?.state === "streaming" && <i class="caret" />}
        {!c && <p class="muted">{empty}</p>}
        {c?.state === "done" && !c.text && <p class="muted">It said nothing.</p>}
        {c?.failure && <Failure column={c} onRetry={onRetry} />}
        {c?.state === "stopped" && <p class="muted">Stopped.</p>}
      </div>
      <footer aria-live="polite">
        {c && tokensOf(c) > 0 && <Facts column={c} parts={parts} flips={part === "Compare" || (c.report?.sigma ?? 1) > 0} />}
        {facts}
        {c && over(c) && c.text && <span class="answer-actions">
          {steps && <IconButton icon="inspect" size={16} label={`Inspect ${name}`} onClick={() => inspectAnswer({ name: `${part}, ${name}`, body: c.body, steps, text: c.text, report: c.report })} />}
          <CopyButton quiet label={`Copy ${name}`} text={() => c.text} />
        </span>}
      </footer>
    </section>
  );
}

/** Keeps the end of a growing text in view, as long as the reader is there. */
function useFollow(ref: RefObject<HTMLElement | null>, text: string): void {
  const at = useRef(true);
  useEffect(() => {
    const e = ref.current!;
    const scroll = () => void (at.current = e.scrollHeight - e.scrollTop - e.clientHeight < 40);
    e.addEventListener("scroll", scroll, { passive: true });
    return () => e.removeEventListener("scroll", scroll);
  }, []);
  useEffect(() => {
    if (text === "") at.current = true;
    else if (at.current && ref.current) ref.current.scrollTop = ref.current.scrollHeight;
  }, [text]);
}

function Marked({ parts, gone }: { parts: readonly Part[]; gone: boolean }) {
  return <>{parts.map((p, i) => {
    if (p.kind === "same") return p.text;
    if (p.kind === "gone") return gone ? <del key={i}>{p.text}</del> : null;
    // Spaces at its ends and ends of lines within are not marked.
    return p.text.split(/(^\s+|\s*\n\s*|\s+$)/).map((t, k) => (t.trim() === "" ? t : <ins key={`${i}.${k}`}>{t}</ins>));
  })}</>;
}

/** What is told under an answer. */
function Facts({ column: c, parts, flips }: { column: Column; parts: readonly Part[] | null; flips: boolean }) {
  const speed = speedOf(c), tokens = tokensOf(c), r = c.report;
  return (
    <dl class="facts">
      <Fact name="tokens" value={String(tokens)} title={c.finish === "length" ? "It was cut at the most tokens" : undefined} />
      {speed !== null && <Fact name="tokens/s" value={speed.toFixed(speed < 10 ? 1 : 0)} />}
      {flips && r && r.flips !== null && r.flips !== undefined && <Fact name="flips" value={`${r.flips}${r.steps ? ` · ${Math.round((100 * r.flips) / r.steps)} %` : ""}`} title="Steps at which noise replaced the model's best token" flip={r.flips > 0} />}
      {parts && over(c) && <Fact name="differs" value={`${Math.round(100 * changed(parts))} %`} title="Words that the first answer does not have there" />}
    </dl>
  );
}

export function Fact({ name, value, title, flip }: { name: string; value: string; title?: string | undefined; flip?: boolean }) {
  return <div title={title} class={flip ? "flipped" : undefined}><dt>{name}</dt><dd>{value}</dd></div>;
}

/** Says what went wrong, and when to try again. */
function Failure({ column: c, onRetry }: { column: Column; onRetry: () => void }) {
  const f = c.failure!;
  const [left, setLeft] = useState(Math.ceil(f.retryAfter ?? 0));
  useEffect(() => {
    setLeft(Math.ceil(f.retryAfter ?? 0));
    const timer = setInterval(() => setLeft((n) => Math.max(0, n - 1)), 1000);
    return () => clearInterval(timer);
  }, [f]);
  return (
    <div class="note bad failure" role="alert">
      <Icon name="warning" size={16} />
      <span>{f.status === 401 ? "The server wants another API key. " : ""}{f.message}{f.requestId && <small> ({f.requestId})</small>}</span>
      <Button small icon="retry" onClick={onRetry}>{left > 0 ? `Retry (${left} s)` : "Retry"}</Button>
    </div>
  );
}
