// The tokens of an answer, coloured, and what is known of the one that is looked at.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, type FocusEntry } from "../api";
import { wordsOf, isSpan, nameOf, signed } from "../focus/entries";
import type { Step } from "../store";
import { IconButton, Segments, Spinner } from "../ui/controls";
import { Icon } from "../ui/icons";
import { previewOf, withheld } from "./preview";
import { gapsOf, paintOf, percent, rowsOf, visible, withPreview, type Paint, type PreviewToken, type Row } from "./rows";
import type { Target } from "./target";

/** An answer's tokens and the details of one of them. */
export function TokenView({ target }: { target: Target }) {
  const { steps } = target;
  const [at, setAt] = useState(() => Math.max(0, steps.findIndex((s) => s.flip || s.forced)));
  const [hover, setHover] = useState<number | null>(null);
  const [paint, setPaint] = useState<Paint>(() => firstPaint(target));
  const shown = Math.min(hover ?? at, steps.length - 1);
  useEffect(() => setAt((n) => Math.min(n, Math.max(0, steps.length - 1))), [steps.length]);
  if (steps.length === 0) return null;
  return (
    <div class="inspect-view">
      <div class="inspect-left">
        <div class="inspect-bar">
          <Segments label="Colour by" value={paint} onChange={setPaint} options={[{ value: "probability", label: "Probability" }, { value: "flips", label: "Flips" }, { value: "focus", label: "Focus" }, { value: "none", label: "Plain" }]} />
          <Legend paint={paint} target={target} />
        </div>
        <Tokens steps={steps} at={at} shown={shown} paint={paint} onAt={(i) => { setAt(i); setHover(null); }} onHover={setHover} />
        <Summary target={target} />
      </div>
      <Detail target={target} at={shown} onStep={(by) => { setAt(Math.min(steps.length - 1, Math.max(0, shown + by))); setHover(null); }} />
    </div>
  );
}

function firstPaint({ steps }: Target): Paint {
  if (steps.some((s) => s.forced || s.hits)) return "focus";
  return steps.some((s) => s.flip) ? "flips" : "probability";
}

function Legend({ paint, target }: { paint: Paint; target: Target }) {
  const steps = target.steps;
  const told = steps.some((s) => s.hits !== undefined);
  switch (paint) {
    case "probability":
      return <p class="legend"><span class="tok p0">90 % or more</span><span class="tok p1">60 %</span><span class="tok p2">30 %</span><span class="tok p3">10 %</span><span class="tok p4">less</span></p>;
    case "flips":
      if (!told || steps.every((s) => s.flip === null || s.flip === undefined)) return <p class="legend muted">The server does not tell flips here.</p>;
      return <p class="legend"><span class="tok flip">noise replaced the model's best token</span></p>;
    case "focus":
      if (!told) return <p class="legend muted">The server does not tell what focus did here.</p>;
      return <p class="legend"><span class="tok forced">focus changed the best token</span><span class="tok hits">completes a raised word</span></p>;
    default:
      return null;
  }
}

/** The tokens as a list of which the arrows choose: along the text, and by lines. */
function Tokens({ steps, at, shown, paint, onAt, onHover }: { steps: readonly Step[]; at: number; shown: number; paint: Paint; onAt: (i: number) => void; onHover: (i: number | null) => void }) {
  const root = useRef<HTMLDivElement>(null);
  const element = (i: number) => root.current?.children[i] as HTMLElement | undefined;
  const indexOf = (e: Event) => {
    const found = (e.target as HTMLElement).closest<HTMLElement>("[data-i]");
    return found ? Number(found.dataset["i"]) : null;
  };
  useEffect(() => {
    if (document.activeElement === root.current) element(at)?.scrollIntoView({ block: "nearest" });
  }, [at]);
  const line = (by: 1 | -1) => {
    const from = element(at)?.getBoundingClientRect();
    if (!from) return at;
    let best = at, nearest = Infinity, row: number | null = null;
    for (let i = at + by; i >= 0 && i < steps.length; i += by) {
      const box = element(i)!.getClientRects()[0];
      if (!box || Math.abs(box.top - from.top) < 6) continue;
      row ??= box.top;
      if (Math.abs(box.top - row) > 6) break;
      if (Math.abs(box.left - from.left) < nearest) [best, nearest] = [i, Math.abs(box.left - from.left)];
    }
    return best;
  };
  const list = useMemo(() => steps.map((s, i) => <Token key={i} step={s} i={i} paint={paint} />), [steps, paint]);
  useMark(root, at, "at", list);
  useMark(root, shown, "shown", list);
  return (
    <div
      ref={root} class="tokens" role="listbox" tabIndex={0} aria-label="Tokens of the answer" aria-activedescendant={`token-${at}`}
      onClick={(e) => { const i = indexOf(e); if (i !== null) onAt(i); }}
      onPointerOver={(e) => { if (e.pointerType === "mouse") onHover(indexOf(e)); }} onPointerLeave={() => onHover(null)}
      onKeyDown={(e) => {
        if (e.altKey || e.ctrlKey || e.metaKey) return;
        const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: steps.length - 1, ArrowDown: -2, ArrowUp: -3 }[e.key];
        if (to === undefined) return;
        e.preventDefault();
        onAt(to === -2 ? line(1) : to === -3 ? line(-1) : Math.min(steps.length - 1, Math.max(0, to)));
      }}
    >{list}</div>
  );
}

/** Marks one of many elements without drawing all anew. */
function useMark(root: { current: HTMLElement | null }, i: number, name: string, list: unknown): void {
  useEffect(() => {
    const e = root.current?.children[i] as HTMLElement | undefined;
    e?.classList.add(name);
    if (name === "at") e?.setAttribute("aria-selected", "true");
    return () => {
      e?.classList.remove(name);
      if (name === "at") e?.setAttribute("aria-selected", "false");
    };
  }, [i, list]);
}

function Token({ step: s, i, paint }: { step: Step; i: number; paint: Paint }) {
  const p = paintOf(s, paint);
  const label = `${visible(s.token)}${s.logprob === null ? "" : `, ${percent(Math.exp(s.logprob))}`}${p.text ? `, ${p.text}` : ""}`;
  const text = s.token === "" ? "∅" : s.token.replaceAll("\n", "↵\n");
  return <span id={`token-${i}`} class={`tok ${p.class}`} role="option" aria-selected="false" aria-label={label} data-i={i}>{text}</span>;
}

function Summary({ target: { steps, report: r, body } }: { target: Target }) {
  const known = steps.filter((s) => s.logprob !== null);
  const mean = known.length > 0 ? Math.exp(known.reduce((n, s) => n + s.logprob!, 0) / known.length) : null;
  const facts: [string, string, string][] = [["tokens", String(steps.length), ""]];
  if (mean !== null) facts.push(["mean probability", percent(mean), "Geometric mean over the tokens, after modulation"]);
  if (r?.level != null) facts.push(["level", r.level.toFixed(2), "The share of steps at which the best token stays best"]);
  if (r?.sigma) facts.push(["σ", r.sigma.toFixed(2), "The noise's standard deviation, in logits"]);
  if (r?.flips != null) facts.push(["flips", String(r.flips), "Steps at which noise replaced the model's best token"]);
  if (r?.retention != null) facts.push(["best stays best", percent(r.retention), "Probability over the noise, mean over the steps"]);
  if (r?.kl != null) facts.push(["KL", `${r.kl.toFixed(2)} nats`, "How far the modulated distribution is from the model's own, mean over the steps"]);
  if (r && body.aim?.focus?.length) facts.push(["moved by focus", String(r.forced), "Steps at which focus changed the best token"], ["hits", String(r.hits), "Raised words that the answer completed"]);
  return <dl class="facts summary">{facts.map(([name, value, title]) => <div key={name} title={title || undefined}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>;
}

/** The preview of a step, a little later than it is looked at; an error says why there is none. */
function usePreview(target: Target, at: number): { tokens: PreviewToken[] | null; loading: boolean; error: string | null } {
  const [state, setState] = useState<{ at: number; body: unknown; tokens: PreviewToken[] | null; error: string | null } | null>(null);
  const no = withheld();
  useEffect(() => {
    if (no) return undefined;
    let gone = false;
    const timer = setTimeout(() => {
      previewOf(target, at).then(
        (tokens) => { if (!gone) setState({ at, body: target.body, tokens, error: null }); },
        (error: unknown) => { if (!gone) setState({ at, body: target.body, tokens: null, error: reason(error) }); },
      );
    }, 90);
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [target.body, at, no]);
  if (no) return { tokens: null, loading: false, error: no };
  const mine = state && state.at === at && state.body === target.body ? state : null;
  return { tokens: mine?.tokens ?? null, loading: !mine, error: mine?.error ?? null };
}

function reason(error: unknown): string {
  const text = error instanceof ApiError ? error.message : String(error);
  return error instanceof ApiError && error.status === 403
    ? `The server does not show the distribution before modulation (${text}); this is what was recorded with the answer.`
    : `The distribution before modulation could not be had: ${text}`;
}

/** Settings that act on logits beside utility and focus. */
const others = ["logit_bias", "frequency_penalty", "presence_penalty", "repeat_penalty", "dry_multiplier", "grammar", "json_schema", "response_format"];

function Detail({ target, at, onStep }: { target: Target; at: number; onStep: (by: number) => void }) {
  const { tokens, loading, error } = usePreview(target, at);
  const s = withPreview(target.steps[at]!, tokens);
  const rows = useMemo(() => rowsOf(s, tokens, 8), [target.steps[at], tokens]);
  const focus = target.body.aim?.focus ?? [];
  const more = others.some((name) => target.body[name] !== undefined);
  const acts = focus.length > 0 || more;
  const gaps = gapsOf(s, tokens);
  return (
    <section class="detail" aria-label="The token that is looked at">
      <header>
        <IconButton icon="left" label="Token before" disabled={at === 0} onClick={() => onStep(-1)} />
        <div class="detail-name"><b class="mono">{visible(s.token)}</b><span class="muted">token {at + 1} of {target.steps.length}</span></div>
        <IconButton icon="right" label="Next token" disabled={at === target.steps.length - 1} onClick={() => onStep(1)} />
      </header>
      <Story step={s} />
      {error && <p class="note"><Icon name="info" size={15} /><span>{error}</span></p>}
      <Bars rows={rows} before={tokens !== null} loading={loading} added={acts && tokens !== null && s.logprob !== null} focus={focus} />
      <dl class="facts measures">
        {gaps.next !== null && <div title="Between the logits of the model's best token and the next, before modulation"><dt>gap to the next</dt><dd>{gaps.next.toFixed(2)}</dd></div>}
        {gaps.chosen !== null && gaps.chosen > 0 && <div title="Between the logits of the model's best token and the chosen one, before modulation"><dt>gap to the chosen</dt><dd>{gaps.chosen.toFixed(2)}</dd></div>}
        {s.retention != null && <div title="The probability, over the noise, that the model's best token stays best here"><dt>best stays best</dt><dd>{percent(s.retention)}</dd></div>}
        {s.kl != null && <div title="How far the modulated distribution is from the model's own"><dt>KL</dt><dd>{s.kl.toFixed(2)} nats</dd></div>}
        {s.excluded != null && s.excluded > 0 && <div title="The plain probability of what modulation makes impossible"><dt>made impossible</dt><dd>{percent(s.excluded)}</dd></div>}
      </dl>
      {acts && <Added rows={rows} focus={focus} more={more} known={tokens !== null && s.logprob !== null} hits={s.hits ?? null} />}
    </section>
  );
}

/** One sentence on what happened. */
function Story({ step: s }: { step: Step }) {
  const best = s.best ? <b class="mono">{visible(s.best.token)}</b> : null;
  if (s.forced) return <p class="story focus"><span aria-hidden="true">◆</span><span>Focus changed the best token here{best && s.best!.token !== s.token && <>; the model's own was {best}</>}.</span></p>;
  if (s.flip) return <p class="story flip"><span aria-hidden="true">⇄</span><span>Flipped: the model's own best was {best ?? "another"}, and the noise of utility put another token first.</span></p>;
  if (s.best && s.best.token !== s.token) return <p class="story"><span aria-hidden="true">⚂</span><span>Chance of sampling: the best token {best} stayed best, and another was drawn.</span></p>;
  if (s.best) return <p class="story"><span aria-hidden="true">✓</span><span>This is the model's own best token.</span></p>;
  return null;
}

/** A bound as it is shown. */
function atMost(p: number): string {
  return p < 0.001 ? percent(p) : `< ${percent(p)}`;
}

/** The candidates with bars before and after. */
function Bars({ rows, before, loading, added, focus }: { rows: readonly Row[]; before: boolean; loading: boolean; added: boolean; focus: readonly FocusEntry[] }) {
  const largest = Math.max(0.05, ...rows.flatMap((r) => [r.before ?? 0, r.after ?? 0]));
  const bar = (p: number | null, kind: string) => <span class={`bar ${kind}`} aria-hidden="true"><i style={{ width: `${p === null ? 0 : Math.max(0.6, (100 * p) / largest)}%` }} /></span>;
  return (
    <table class={`bars${loading ? " loading" : ""}`} aria-busy={loading}>
      <caption class="offscreen">Candidates for this token, their probability before and after modulation</caption>
      <thead><tr>
        <th scope="col">Candidate</th>
        <th scope="col"><span class="keys-bars">{before && <span><i class="swatch before" />before</span>}<span><i class="swatch after" />after</span></span>{loading && <Spinner label="Asking for the distribution before modulation" />}</th>
        {added && <th scope="col" class="num" title="What was added to the log-probability after utility, in nats">added</th>}
      </tr></thead>
      <tbody>{rows.map((r) => {
        const word = wordOf(r, focus);
        return (
          <tr key={r.bytes?.join() ?? r.token} class={r.chosen ? "chosen" : ""}>
            <th scope="row">
              <span class="cand mono" title={r.token}>{visible(r.token)}</span>
              <span class="tags">{r.chosen && <span class="tag">chosen</span>}{r.best && <span class="tag plain">model's best</span>}{word && <span class={`tag ${word.strength > 0 ? "raise" : "lower"}`}>{nameOf(word)}</span>}</span>
            </th>
            <td>
              {before && <span class="bar-line">{bar(r.before, "before")}<span class="num">{r.before !== null ? percent(r.before) : r.beforeBelow !== null ? atMost(r.beforeBelow) : "–"}</span></span>}
              <span class="bar-line">{bar(r.after, "after")}<span class="num">{r.after !== null ? percent(r.after) : r.below !== null ? atMost(r.below) : "–"}</span></span>
            </td>
            {added && <td class={`num ${r.added !== null && r.added > 0.02 ? "up" : r.added !== null && r.added < -0.02 ? "down" : ""}`}>{r.added === null ? "" : signed(r.added)}</td>}
          </tr>
        );
      })}</tbody>
    </table>
  );
}

/** The entry of focus one of whose words a candidate begins. */
function wordOf(r: Row, focus: readonly FocusEntry[]) {
  const token = r.token.trim().toLowerCase();
  if (token.length < 2) return undefined;
  return focus.find((f) => !isSpan(f) && wordsOf(f).some((w) => w.toLowerCase().startsWith(token)));
}

/** What focus added, entry by entry as far as that can be told. */
function Added({ rows, focus, more, known, hits }: { rows: readonly Row[]; focus: readonly FocusEntry[]; more: boolean; known: boolean; hits: number | null }) {
  const name = [focus.length > 0 ? "focus" : "", more ? "biases, penalties and forms" : ""].filter(Boolean).join(", ");
  const moved = rows.filter((r) => r.added !== null && Math.abs(r.added) > 0.02);
  const spans = focus.some(isSpan);
  return (
    <div class="added">
      <h3>What {name} added</h3>
      {!known ? <p class="hint">It takes the distribution without focus to tell, which is not shown here.</p>
        : moved.length === 0 ? <p class="hint">Nothing at this token{focus.length > 0 ? ": focus waits for a place where a word would be possible anyway" : ""}.</p>
        : <ul>{[...moved].sort((a, b) => Math.abs(b.added!) - Math.abs(a.added!)).slice(0, 4).map((r) => {
          const word = wordOf(r, focus);
          return <li key={r.token}><b class="mono">{visible(r.token)}</b> <span class={r.added! > 0 ? "up" : "down"}>{signed(r.added!)} nats</span> <span class="muted">{word ? `by “${nameOf(word)}”` : r.added! < 0 ? "gave way" : spans ? "by the spans" : ""}{r.utility !== null && r.after !== null ? ` · ${percent(r.utility)} → ${percent(r.after)}` : ""}</span></li>;
        })}</ul>}
      {hits ? <p class="hint">It completes {hits === 1 ? "a raised word" : `${hits} raised words`}.</p> : null}
    </div>
  );
}
