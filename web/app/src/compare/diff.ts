// The difference of two texts, word by word.

/** A run of text that both have, that only the second has, or that only the first has. */
export interface Part {
  kind: "same" | "added" | "gone";
  text: string;
}

/** Words with the space before them, and marks of punctuation by themselves, so that "sea." differs from "sea" by its point alone. */
export function words(text: string): string[] {
  return text.match(/\s*(?:[\p{L}\p{N}\p{M}_]+(?:['’-][\p{L}\p{N}\p{M}_]+)*|[^\s\p{L}\p{N}\p{M}_])|\s+$/gu) ?? [];
}

/** Beyond this many pairs of words, only the common beginning and end are found. */
const most = 4_000_000;

/** What makes text of base. With open, base may still grow: what text has beyond its end is then "same". */
export function diff(base: string, text: string, open = false): Part[] {
  const a = words(base), b = words(text);
  const x = a.map(bare), y = b.map(bare);
  let from = 0;
  while (from < x.length && from < y.length && x[from] === y[from]) from++;
  let ends = 0;
  if (!open) while (ends < x.length - from && ends < y.length - from && x[x.length - 1 - ends] === y[y.length - 1 - ends]) ends++;
  const out: Part[] = [];
  const push = (kind: Part["kind"], word: string) => {
    const last = out[out.length - 1];
    if (last?.kind === kind) last.text += word;
    else out.push({ kind, text: word });
  };
  for (let i = 0; i < from; i++) push("same", b[i]!);
  middle(a, b, x, y, from, x.length - ends, y.length - ends, push);
  for (let i = b.length - ends; i < b.length; i++) push("same", b[i]!);
  if (open) {
    // What the first has not said yet is no difference, nor is what the second has not.
    const last = out[out.length - 1];
    if (last?.kind === "added") {
      out.pop();
      push("same", last.text);
    }
  }
  return out;
}

function bare(word: string): string {
  return word.trim() || word;
}

/** The longest common subsequence between from and the ends, by dynamic programming. */
function middle(a: string[], b: string[], x: string[], y: string[], from: number, endA: number, endB: number, push: (kind: Part["kind"], word: string) => void): void {
  const n = endA - from, m = endB - from;
  const rest = (i: number, j: number) => {
    for (; i < endA; i++) push("gone", a[i]!);
    for (; j < endB; j++) push("added", b[j]!);
  };
  if (n === 0 || m === 0 || n * m > most) return rest(from, from);
  const width = m + 1;
  const best = new Uint16Array((n + 1) * width);
  for (let i = n - 1; i >= 0; i--) {
    for (let j = m - 1; j >= 0; j--) {
      best[i * width + j] = x[from + i] === y[from + j] ? best[(i + 1) * width + j + 1]! + 1 : Math.max(best[(i + 1) * width + j]!, best[i * width + j + 1]!);
    }
  }
  let i = 0, j = 0;
  while (i < n && j < m) {
    if (x[from + i] === y[from + j]) {
      push("same", b[from + j]!);
      i++;
      j++;
    } else if (best[(i + 1) * width + j]! >= best[i * width + j + 1]!) push("gone", a[from + i++]!);
    else push("added", b[from + j++]!);
  }
  rest(from + i, from + j);
}

/** The share of a text's words that base does not have there. */
export function changed(parts: readonly Part[]): number {
  const count = (kind: Part["kind"]) => parts.filter((p) => p.kind === kind).reduce((n, p) => n + words(p.text).length, 0);
  const added = count("added"), same = count("same");
  return added + same === 0 ? 0 : added / (added + same);
}
