// The focus section of the settings: words and spans as chips, each with its strength.
import { useId, useState } from "preact/hooks";
import type { FocusEntry } from "../api";
import { askMessages } from "../compare/ask";
import { card, draft, tab } from "../store";
import { Button, IconButton, NumberField, Range } from "../ui/controls";
import { Icon } from "../ui/icons";
import { addEntries, bound, isSpan, locate, mostEntries, nameOf, readWords, signed } from "./entries";
import "./focus.css";

/** The strength that a new word gets. */
const usual = 0.5;

/** The most that a model takes. */
export function mostStrength(): number {
  return card.value?.policy.max_focus ?? 1;
}

/** Sets the strength of an entry. */
export function setStrength(i: number, strength: number): void {
  draft.focus.value = draft.focus.value.map((f, k) => (k === i ? { ...f, strength: bound(strength, mostStrength()) } : f));
}

/** The entries of focus of the request on screen. The tab "Focus" has them in its middle. */
export function FocusPanel() {
  if (tab.value === "focus") return <p class="hint">They stand over the answers.</p>;
  return <Chips />;
}

/** The chips, and what adds words. */
export function Chips() {
  const list = draft.focus.value;
  const most = mostStrength();
  const [typed, setTyped] = useState("");
  const id = useId();
  const add = (strength: number) => {
    const more = readWords(typed, bound(strength, most));
    if (more.length === 0) return;
    draft.focus.value = addEntries(draft.focus.value, more);
    setTyped("");
  };
  if (most <= 0) return <p class="note"><Icon name="key" size={15} /><span>This model takes no focus.</span></p>;
  return (
    <div class="chips">
      <form class="chip-add" onSubmit={(e) => { e.preventDefault(); add(usual); }}>
        <input type="text" id={id} aria-label="Words to raise or lower" placeholder="Add words, such as water, river" value={typed} onInput={(e) => setTyped(e.currentTarget.value)} autocomplete="off" spellcheck={false} enterkeyhint="done" disabled={list.length >= mostEntries} />
        <Button small title="Say more of it (Enter)" aria-label="More of these words" disabled={!typed.trim()} onClick={() => add(usual)}><Arrow up /><span class="wide">More</span></Button>
        <Button small title="Keep it out" aria-label="None of these words" disabled={!typed.trim()} onClick={() => add(-1)}><Arrow /><span class="wide">None</span></Button>
      </form>
      {list.length > 0 && <ul class="chip-list" aria-label="Focus">{list.map((f, i) => <ChipRow key={`${nameOf(f)}:${f.index ?? ""}`} entry={f} at={i} most={most} />)}</ul>}
    </div>
  );
}

export function Arrow({ up = false }: { up?: boolean }) {
  return <span aria-hidden="true" class="arrow">{up ? "↑" : "↓"}</span>;
}

/** A chip with its slider. Up or down stands before it as an arrow, too. */
function ChipRow({ entry: f, at, most }: { entry: FocusEntry; at: number; most: number }) {
  const name = nameOf(f), span = isSpan(f);
  const messages = span ? askMessages() : null;
  const place = span && messages ? locate(messages, f) : null;
  const tone = f.strength > 0 ? "raise" : f.strength < 0 ? "lower" : "";
  return (
    <li class={`focus-chip ${tone}`}>
      <span class="focus-chip-name" title={name}>{f.strength !== 0 && <Arrow up={f.strength > 0} />}<span>{span ? `“${name}”` : name}</span></span>
      <NumberField value={f.strength} min={-most} max={most} step={0.05} label={`Strength of ${name}, number`} onChange={(v) => setStrength(at, v ?? 0)} />
      <IconButton icon="close" size={14} label={`Remove ${name}`} onClick={() => (draft.focus.value = draft.focus.value.filter((_, k) => k !== at))} />
      <Range value={f.strength} low={-most} high={most} step={0.05} zero={0} label={`Strength of ${name}`} text={`${signed(f.strength)}${f.strength > 0 ? ", raised" : f.strength < 0 ? ", lowered" : ", off"}`} onInput={(v) => setStrength(at, v)} />
      {span && !place && <span class="hint">Not in the messages{messages ? "" : " yet"}: it is not sent.</span>}
    </li>
  );
}
