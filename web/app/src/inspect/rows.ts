// What the inspector tells of a step, worked out of what was recorded and of a preview of the same place.
import type { Step } from "../store";

/** Where a token stands in a distribution. */
export interface Side {
  rank: number;
  logit: number;
  logprob: number;
  prob: number;
}

export interface PreviewToken {
  token: string;
  bytes: number[] | null;
  id: number;
  before: Side | null;
  after: Side | null;
}

/** A candidate for the next token. */
export interface Row {
  token: string;
  bytes: number[] | null;
  /** Its probability before modulation, after utility alone, and after all; null where it is not known or impossible. */
  before: number | null;
  utility: number | null;
  after: number | null;
  /** Above what before and after cannot be where they are null. */
  beforeBelow: number | null;
  below: number | null;
  /** What all that acts after utility added to its log-probability, in nats; null where one of both is not known. */
  added: number | null;
  chosen: boolean;
  best: boolean;
}

function keyOf(t: { token: string; bytes: readonly number[] | null }): string {
  return t.bytes ? t.bytes.join() : t.token;
}

/** The candidates of a step, the most probable after modulation first; at most n, the chosen and the best among them. preview is of utility alone; null where there is none. */
export function rowsOf(step: Step, preview: readonly PreviewToken[] | null, n: number): Row[] {
  const recorded = new Map(step.top.map((t) => [keyOf(t), t.logprob]));
  if (step.logprob !== null) recorded.set(keyOf(step), step.logprob);
  const below = step.top.length > 0 ? Math.exp(Math.min(...step.top.map((t) => t.logprob))) : null;
  const befores = (preview ?? []).flatMap((p) => (p.before ? [p.before] : [])).sort((a, b) => a.rank - b.rank);
  // The most probable are all there, up to the first rank that is not.
  const gap = befores.findIndex((s, i) => s.rank !== i + 1);
  const last = befores[(gap < 0 ? befores.length : gap) - 1];
  const rows = new Map<string, Row>();
  const add = (t: { token: string; bytes: number[] | null }, side?: PreviewToken) => {
    const key = keyOf(t);
    if (rows.has(key)) return;
    const logprob = recorded.get(key) ?? (recorded.size === 0 ? side?.after?.logprob : undefined);
    rows.set(key, {
      token: t.token, bytes: t.bytes, before: side?.before?.prob ?? null, beforeBelow: side ? null : (last?.prob ?? null), utility: side?.after?.prob ?? null, after: logprob === undefined ? null : Math.exp(logprob),
      below: logprob === undefined ? below : null, added: logprob !== undefined && side?.after ? logprob - side.after.logprob : null,
      chosen: key === keyOf(step), best: step.best ? key === keyOf(step.best) : side?.before?.rank === 1,
    });
  };
  for (const p of preview ?? []) add(p, p);
  for (const t of step.top) add(t);
  add(step);
  if (step.best) add(step.best);
  const order = (r: Row) => r.after ?? Math.min(r.utility ?? r.before ?? 0, 0.999 * (r.below ?? 1));
  const sorted = [...rows.values()].sort((a, b) => order(b) - order(a));
  const kept = new Set(sorted.filter((r) => r.chosen || r.best));
  for (const r of sorted) if (kept.size < n) kept.add(r);
  return sorted.filter((r) => kept.has(r));
}

/** Gaps between logits before modulation: from the best token to the next, and to the chosen one; null where the preview does not say. */
export function gapsOf(step: Step, preview: readonly PreviewToken[] | null): { next: number | null; chosen: number | null } {
  const sides = (preview ?? []).filter((p) => p.before).sort((a, b) => a.before!.rank - b.before!.rank);
  const best = sides[0]?.before?.rank === 1 ? sides[0].before : null;
  const second = sides[1]?.before?.rank === 2 ? sides[1].before : null;
  const chosen = sides.find((p) => keyOf(p) === keyOf(step))?.before ?? null;
  return { next: best && second ? best.logit - second.logit : null, chosen: best && chosen ? best.logit - chosen.logit : null };
}

/** What a report would say of a step, as far as a preview tells it, for answers that were stopped and have no report. */
export function withPreview(step: Step, preview: readonly PreviewToken[] | null): Step {
  if (step.best || !preview) return step;
  const best = preview.find((p) => p.before?.rank === 1), after = preview.find((p) => p.after?.rank === 1);
  if (!best || !after) return step;
  return { ...step, best: { token: best.token, bytes: best.bytes, id: best.id }, flip: best !== after };
}

/** How an answer is coloured. */
export type Paint = "probability" | "flips" | "focus" | "none";

/** The class of a step, and what it is called; "" is none. */
export function paintOf(step: Step, paint: Paint): { class: string; text: string } {
  if (paint === "probability" && step.logprob !== null) {
    const p = Math.exp(step.logprob);
    const band = p >= 0.9 ? 0 : p >= 0.6 ? 1 : p >= 0.3 ? 2 : p >= 0.1 ? 3 : 4;
    return { class: `p${band}`, text: "" };
  }
  if (paint === "flips" && step.flip) return { class: "flip", text: "flipped" };
  if (paint === "focus") {
    if (step.hits) return { class: "hits", text: "completes a word of focus" };
    if (step.forced) return { class: "forced", text: "moved by focus" };
  }
  return { class: "", text: "" };
}

/** A share in words short enough for a table. */
export function percent(p: number): string {
  if (p >= 0.9995) return "100 %";
  if (p >= 0.0995) return `${(100 * p).toFixed(0)} %`;
  if (p >= 0.001) return `${(100 * p).toFixed(1)} %`;
  return "< 0.1 %";
}

/** A token as it can be read: spaces and ends of lines have signs. */
export function visible(token: string): string {
  if (token === "") return "∅";
  return token.replace(/^ +| +$/g, (s) => "␣".repeat(s.length)).replaceAll("\n", "↵").replaceAll("\t", "⇥");
}

/** What an answer said before its steps begin, where they are those of its continuation alone; "" where they are all of it. */
export function before(content: string, steps: readonly Step[]): string {
  const head = textOf(steps, Math.min(steps.length, 12));
  const at = head && !content.startsWith(head) ? content.lastIndexOf(head) : 0;
  return at > 0 ? content.slice(0, at) : "";
}

/** The text of the first n steps. */
export function textOf(steps: readonly Step[], n: number): string {
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  return steps.slice(0, n).map((s) => decoder.decode(s.bytes ? new Uint8Array(s.bytes) : encoder.encode(s.token), { stream: true })).join("") + decoder.decode();
}
