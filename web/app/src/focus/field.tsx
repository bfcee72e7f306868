// A field of text of which parts can be selected and pulled up or down: a span of focus.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { FocusEntry, Message } from "../api";
import { card, draft } from "../store";
import { Growing } from "../ui/controls";
import { addEntries, bound, isSpan, locate, mostSpans, signed, spanAt } from "./entries";
import { Arrow, mostStrength } from "./panel";

/** What can be shown and pulled of a text: message k of messages. */
interface Props {
  value: string;
  onInput: (text: string) => void;
  messages: readonly Message[] | null;
  message: number;
  label: string;
  placeholder?: string;
}

/** The field. Spans are marked in it, and what is selected can be pulled with the handle, the buttons, or Alt and the arrows. */
export function SpanField({ value, onInput, messages, message, label, placeholder }: Props) {
  const [selected, setSelected] = useState<{ from: number; to: number } | null>(null);
  const area = useRef<HTMLTextAreaElement | null>(null);
  const back = useRef<HTMLDivElement>(null);
  const spans = messages?.[message]?.content === value ? located(messages, message) : [];
  const forbidden = card.value?.policy.spans === false;

  const read = () => {
    const e = area.current;
    if (e) setSelected(e.selectionEnd > e.selectionStart ? { from: e.selectionStart, to: e.selectionEnd } : null);
  };
  const current = selected && messages ? pick(messages, message, selected, spans) : null;
  const pull = (strength: number) => {
    if (!current || forbidden) return;
    const next = { ...current.entry, strength: bound(strength, mostStrength()) };
    draft.focus.value = current.at === null ? addEntries(draft.focus.value, [next]) : draft.focus.value.map((f, i) => (i === current.at ? next : f));
  };
  useLayoutEffect(() => {
    if (back.current && area.current) back.current.scrollTop = area.current.scrollTop;
  });
  return (
    <div class="span-field">
      <div class="span-area">
        <div class="span-back" aria-hidden="true" ref={back}>{marked(value, spans)}{"\n"}</div>
        <Growing
          value={value} onInput={(t) => { onInput(t); setSelected(null); }} placeholder={placeholder} aria-label={label} inputRef={(e) => (area.current = e)}
          onSelect={read} onPointerUp={() => setTimeout(read)} onKeyUp={read} onScroll={() => back.current && area.current && (back.current.scrollTop = area.current.scrollTop)}
          onKeyDown={(e) => {
            if (!e.altKey || !current || (e.key !== "ArrowUp" && e.key !== "ArrowDown")) return;
            e.preventDefault();
            pull(current.entry.strength + (e.key === "ArrowUp" ? 0.25 : -0.25));
          }}
        />
      </div>
      {forbidden ? <p class="hint">This model takes no spans of the prompt as focus.</p>
        : current ? <Puller entry={current.entry} full={current.at === null && draft.focus.value.filter(isSpan).length >= mostSpans} onPull={pull} />
        : value.trim() !== "" && <p class="hint">Select a part of the prompt, then pull it up or down (Alt+↑ and Alt+↓).</p>}
    </div>
  );
}

interface Located {
  /** Which entry of the draft. */
  entry: number;
  at: number;
  length: number;
  strength: number;
}

/** The spans that stand in a message. */
function located(messages: readonly Message[], message: number): Located[] {
  return draft.focus.value.flatMap((f, entry) => {
    if (!isSpan(f)) return [];
    const place = locate(messages, f);
    return place?.message === message ? [{ entry, at: place.at, length: f.span.length, strength: f.strength }] : [];
  }).sort((a, b) => a.at - b.at);
}

/** The entry of what is selected: the span that is there, or a new one of strength 0. */
function pick(messages: readonly Message[], message: number, { from, to }: { from: number; to: number }, spans: readonly Located[]): { entry: FocusEntry; at: number | null } | null {
  const fresh = spanAt(messages, message, from, to, 0);
  if (!fresh) return null;
  const there = spans.find((s) => s.at + s.length > from && s.at < to);
  if (there) return { entry: draft.focus.value[there.entry]!, at: there.entry };
  return { entry: fresh, at: null };
}

/** The text with its spans marked, to lie under the field. */
function marked(text: string, spans: readonly Located[]) {
  const list = [];
  let at = 0;
  for (const s of spans) {
    if (s.at < at) continue;
    list.push(text.slice(at, s.at), <mark class={s.strength > 0 ? "raise" : s.strength < 0 ? "lower" : ""}>{text.slice(s.at, s.at + s.length)}</mark>);
    at = s.at + s.length;
  }
  return [...list, text.slice(at)];
}

/** What pulls: a handle that is dragged up or down, and buttons. */
function Puller({ entry, full, onPull }: { entry: FocusEntry; full: boolean; onPull: (strength: number) => void }) {
  const from = useRef<{ y: number; strength: number } | null>(null);
  const s = entry.strength;
  if (full) return <p class="hint">A request takes {mostSpans} spans; remove one first.</p>;
  const keep = (e: Event) => e.preventDefault(); // the selection stays
  const keys: Record<string, number> = { ArrowUp: s + 0.05, ArrowRight: s + 0.05, ArrowDown: s - 0.05, ArrowLeft: s - 0.05, PageUp: s + 0.25, PageDown: s - 0.25, Home: -1, End: 1 };
  return (
    <div class={`puller ${s > 0 ? "raise" : s < 0 ? "lower" : ""}`}>
      <span
        class="pull" role="slider" tabIndex={0} aria-label="Pull the selection up or down" aria-orientation="vertical" aria-valuemin={-1} aria-valuemax={1} aria-valuenow={s} aria-valuetext={signed(s)}
        onPointerDown={(e) => { e.preventDefault(); e.currentTarget.setPointerCapture(e.pointerId); from.current = { y: e.clientY, strength: s }; }}
        onPointerMove={(e) => from.current && onPull(Math.round((from.current.strength + (from.current.y - e.clientY) / 80) * 20) / 20)}
        onPointerUp={() => (from.current = null)} onPointerCancel={() => (from.current = null)}
        onKeyDown={(e) => { const to = keys[e.key]; if (to !== undefined) { e.preventDefault(); onPull(to); } }}
      >⇕</span>
      <span class="puller-text">“{entry.span}”</span>
      <b>{signed(s)}</b>
      <button type="button" class="button small" onMouseDown={keep} onClick={() => onPull(s + 0.25)}><Arrow up />Up</button>
      <button type="button" class="button small" onMouseDown={keep} onClick={() => onPull(s - 0.25)}><Arrow />Down</button>
    </div>
  );
}
