// Where words occur in a text, by the server's rule: whatever their case, and not within a longer word.

/** An occurrence of a word. */
export interface Hit {
  at: number;
  length: number;
  /** Which of the lists of words has it. */
  entry: number;
}

const inner = "\\p{L}\\p{N}\\p{M}";
// Scripts that are written without spaces have no ends of words.
const open = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
const letter = /[\p{L}\p{N}]/u;

function pattern(word: string): string {
  const chars = [...word.trim()];
  const first = chars[0]!, last = chars[chars.length - 1]!;
  const bounded = (c: string) => letter.test(c) && !open.test(c);
  const literal = chars.map((c) => (/\s/.test(c) ? "\\s" : c.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"))).join("");
  return `${bounded(first) ? `(?<![${inner}])` : ""}${literal}${bounded(last) ? `(?![${inner}])` : ""}`;
}

/** The occurrences of words in their order, without overlaps; of two that begin at one place the longer. */
export function findHits(text: string, entries: readonly (readonly string[])[]): Hit[] {
  const all: Hit[] = [];
  for (const [entry, words] of entries.entries()) {
    for (const word of words) {
      if (!word.trim()) continue;
      for (const found of text.matchAll(new RegExp(pattern(word), "giu"))) all.push({ at: found.index, length: found[0].length, entry });
    }
  }
  all.sort((a, b) => a.at - b.at || b.length - a.length);
  let end = 0;
  return all.filter((h) => h.at >= end && ((end = h.at + h.length), true));
}

/** How often each list of words occurs. */
export function countHits(hits: readonly Hit[], entries: number): number[] {
  const counts = new Array<number>(entries).fill(0);
  for (const h of hits) counts[h.entry]!++;
  return counts;
}
