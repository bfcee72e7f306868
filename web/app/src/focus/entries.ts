// Entries of focus: how words and spans become a request, and where spans stand in the messages.
import type { FocusEntry, Message } from "../api";

/** The server's bounds. */
export const mostEntries = 64, mostSpans = 4, mostWords = 64;

export function isSpan(f: FocusEntry): f is FocusEntry & { span: string } {
  return f.span !== undefined;
}

/** The words of an entry. */
export function wordsOf(f: FocusEntry): string[] {
  return typeof f.text === "string" ? [f.text] : (f.text ?? []);
}

/** What an entry is called. */
export function nameOf(f: FocusEntry): string {
  return isSpan(f) ? f.span : wordsOf(f).join(", ");
}

/** Reads what was typed: words between commas or lines, one entry each; a word with - before it is lowered, with + raised, others by `strength`. */
export function readWords(typed: string, strength: number): FocusEntry[] {
  return typed.split(/[,;\n]/).flatMap((part) => {
    const found = /^([+\-−]?)\s*(.*)$/su.exec(part.trim().replace(/\s+/g, " "));
    const word = found?.[2];
    if (!word) return [];
    const sign = found[1];
    return [{ text: word, strength: sign === "+" ? Math.abs(strength) : sign ? -Math.abs(strength) : strength }];
  });
}

/** A list with more entries; a word that is there already gets the new strength, in its place. */
export function addEntries(list: readonly FocusEntry[], more: readonly FocusEntry[]): FocusEntry[] {
  const out = [...list];
  const same = (a: FocusEntry, b: FocusEntry) =>
    isSpan(a) || isSpan(b) ? a.span === b.span && (a.index ?? 0) === (b.index ?? 0) : nameOf(a).toLowerCase() === nameOf(b).toLowerCase();
  for (const f of more) {
    const at = out.findIndex((g) => same(f, g));
    if (at >= 0) out[at] = { ...out[at]!, strength: f.strength };
    else if (out.length < mostEntries && (!isSpan(f) || out.filter(isSpan).length < mostSpans)) out.push(f);
  }
  return out;
}

/** Where a text occurs in another, without overlaps, as the server counts. */
export function occurrences(text: string, part: string): number[] {
  const list: number[] = [];
  if (part) for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) list.push(at);
  return list;
}

/** The entry for what is selected from `from` to `to` in message k; null for nothing but spaces. */
export function spanAt(messages: readonly Message[], k: number, from: number, to: number, strength: number): FocusEntry | null {
  const text = messages[k]?.content ?? "";
  while (from < to && /\s/.test(text[from]!)) from++;
  while (to > from && /\s/.test(text[to - 1]!)) to--;
  const span = text.slice(from, to);
  if (!span) return null;
  const counts = messages.map((m) => occurrences(m.content, span));
  const before = counts.slice(0, k).reduce((n, c) => n + c.length, 0);
  const here = Math.max(0, counts[k]!.filter((at) => at <= from).length - 1);
  const all = counts.reduce((n, c) => n + c.length, 0);
  return all > 1 ? { span, index: before + here, strength } : { span, strength };
}

/** Where a span stands: in which message and at which offset; null where it does not occur. */
export function locate(messages: readonly Message[], f: FocusEntry & { span: string }): { message: number; at: number } | null {
  let k = f.index ?? 0;
  for (const [message, m] of messages.entries()) {
    const list = occurrences(m.content, f.span);
    if (k < list.length) return { message, at: list[k]! };
    k -= list.length;
  }
  return null;
}

/** The entries that a request with these messages can have: those of strength 0 and spans that do not occur are left out, and what occurs several times says which is meant. */
export function fit(list: readonly FocusEntry[], messages: readonly Message[]): FocusEntry[] {
  return list.filter((f) => f.strength !== 0).flatMap((f) => {
    if (!isSpan(f)) return [f];
    const all = messages.reduce((n, m) => n + occurrences(m.content, f.span).length, 0);
    if (all === 0) return [];
    const { index, ...rest } = f;
    return [all === 1 ? rest : { ...rest, index: Math.min(index ?? 0, all - 1) }];
  });
}

/** An entry with a strength within what a model takes, to hundredths. */
export function bound(strength: number, most = 1): number {
  return Math.round(Math.max(-most, Math.min(most, strength)) * 100) / 100;
}

/** A strength with its sign. */
export function signed(strength: number): string {
  return strength === 0 ? "0" : `${strength > 0 ? "+" : "−"}${Math.abs(strength).toFixed(2)}`;
}
