// The tab "Focus": what the answer attends to, and the same answer without.
import { useEffect, useMemo, useRef } from "preact/hooks";
import { signal } from "@preact/signals";
import type { FocusEntry, Message } from "../api";
import { AskBar, askMessages, askRequest, told } from "../compare/ask";
import { AnswerColumn, Fact } from "../compare/column";
import { Run, type Column, type Job } from "../compare/run";
import { load, save } from "../db";
import { draft, setSystem } from "../store";
import { Switch } from "../ui/controls";
import { Icon } from "../ui/icons";
import { isSpan, wordsOf } from "./entries";
import { SpanField } from "./field";
import { countHits, findHits } from "./hits";
import { Chips } from "./panel";

const run = new Run(told);
/** Whether the answer without focus stands beside. */
const both = signal(load("focus-both") !== "off");

type Side = "with" | "without";

/** The requests of what is on screen: with focus and, beside it, without. */
export function focusJobs(sides: readonly Side[] = both.value ? ["with", "without"] : ["with"]): Job[] {
  const messages = askMessages();
  if (!messages) return [];
  const body = askRequest(messages);
  const { focus: _, ...aim } = body.aim ?? {};
  const bodies: Record<Side, typeof body> = { with: { ...body }, without: { ...body, aim } };
  return sides.map((key) => ({ path: "/v1/chat/completions", body: bodies[key], columns: [{ key, body: bodies[key] }] }));
}

/** The tab. */
export function Focus() {
  const messages = askMessages();
  const columns = run.columns.value;
  useRepeat(columns["with"]);
  const sides: Side[] = both.value ? ["with", "without"] : ["with"];
  const toggle = (on: boolean) => {
    both.value = on;
    save("focus-both", on ? null : "off");
    if (on && columns["with"] && columns["without"]?.state !== "done") run.start(focusJobs(["without"]));
  };
  return (
    <div class="focus-tab">
      <AskBar
        part="Focus" run={run} label="Answer" onRun={() => run.start(focusJobs())} prompt={<Fields messages={messages} />}
        more={<Switch label="Without focus beside it (A/B)" checked={both.value} onChange={toggle} />}
      />
      <div class="focus-chips"><Chips /></div>
      <div class="answers" role="region" aria-label="Answers" tabIndex={0}>
        {sides.map((side, i) => <Answer key={side} side={side} series={i + 1} column={columns[side]} />)}
      </div>
    </div>
  );
}

/** The prompt and, where there is one, the system prompt. */
function Fields({ messages }: { messages: readonly Message[] | null }) {
  const system = draft.system.value;
  return (
    <div class="focus-fields">
      {system.trim() && <SpanField value={system} onInput={setSystem} messages={messages} message={0} label="System prompt" />}
      <SpanField value={draft.prompt.value} onInput={(t) => (draft.prompt.value = t)} messages={messages} message={draft.prompt.value.trim() ? (messages?.length ?? 0) - 1 : -1} label="Prompt" placeholder="A prompt, of which parts can be pulled up or down" />
    </div>
  );
}

/** Answers anew when a chip has been moved, once there is an answer. */
function useRepeat(c: Column | undefined): void {
  const now = JSON.stringify(draft.focus.value.filter((f) => f.strength !== 0));
  const before = useRef(now);
  useEffect(() => {
    if (before.current === now || !c) {
      before.current = now;
      return undefined;
    }
    const timer = setTimeout(() => {
      before.current = now;
      run.start(focusJobs(["with"]));
    }, 500);
    return () => clearTimeout(timer);
  }, [now, c === undefined]);
}

function Answer({ side, column: c, series }: { side: Side; column: Column | undefined; series: number }) {
  const asked: readonly FocusEntry[] = run.columns.value["with"]?.body.aim?.focus ?? draft.focus.value;
  const words = asked.filter((f) => !isSpan(f));
  const lists = useMemo(() => words.map(wordsOf), [JSON.stringify(words)]);
  const hits = useMemo(() => findHits(c?.text ?? "", lists), [c?.text, lists]);
  const counts = countHits(hits, lists.length);
  const draw = (text: string) => {
    const list = [];
    let at = 0;
    for (const h of hits) {
      const tone = words[h.entry]!.strength > 0 ? "raise" : "lower";
      list.push(text.slice(at, h.at), <mark class={`hit ${tone}`} title={tone === "raise" ? "A raised word" : "A lowered word"}>{text.slice(h.at, h.at + h.length)}</mark>);
      at = h.at + h.length;
    }
    return [...list, text.slice(at)];
  };
  return (
    <AnswerColumn
      part="Focus" name={side === "with" ? "with focus" : "without focus"} series={series} column={c} text={draw} onRetry={() => run.start(focusJobs([side]))}
      empty={side === "with" ? "The answer that attends to the words and spans above." : "The same request and seed, without focus."}
      head={<div class="side-head"><b>{side === "with" ? "With focus" : "Without focus"}</b><span class="muted">{side === "with" ? (asked.some((f) => f.strength !== 0) ? "" : "nothing is raised or lowered yet") : "same seed"}</span></div>}
      facts={c && words.length > 0 && <>
        {side === "with" && c.report && <dl class="facts"><Fact name={c.report.hits === 1 ? "hit" : "hits"} value={String(c.report.hits)} title="Words of a raising focus that the answer completed" /></dl>}
        <ul class="counts" aria-label="Words in the answer">{words.map((f, i) => (
          <li key={i} class={f.strength > 0 ? "raise" : "lower"}><Icon name={f.strength > 0 ? "send" : "down"} size={12} />{wordsOf(f).join(", ")} <b>×{counts[i]}</b></li>
        ))}</ul>
      </>}
    />
  );
}
