// What was used, by key or by model, and by day.
import { useEffect, useMemo, useState } from "preact/hooks";
import { computed, signal } from "@preact/signals";
import { Segments, Spinner } from "../ui/controls";
import { askUsage, type Total } from "./admin";
import { Chart } from "./chart";
import { daysAgo, whole } from "./format";
import { Failure, Section } from "./index";
import { Meter } from "./live";
import { resource } from "./resource";
import { keys } from "./state";

type Period = "1" | "7" | "30" | "365";
type By = "key" | "model";
const period = signal<Period>("7"), by = signal<By>("key");
const from = computed(() => daysAgo(Number(period.value) - 1));
const totals = resource(() => askUsage(by.value, from.value));
const days = resource(() => askUsage("day", from.value));

export function UsageSection() {
  const [asked, setAsked] = useState(0);
  useEffect(() => {
    void totals.load();
    void days.load();
  }, [period.value, by.value, asked]);
  const list = useMemo(() => [...(totals.data.value ?? [])].sort((a, b) => tokens(b) - tokens(a)), [totals.data.value]);
  return (
    <Section title="Usage" hint="Days are those of UTC." beside={<div class="choices">
      <Segments label="Tell apart" value={by.value} onChange={(v) => (by.value = v)} options={[{ value: "key", label: "By key" }, { value: "model", label: "By tier" }]} />
      <Segments label="Period" value={period.value} onChange={(v) => { period.value = v; setAsked(asked + 1); }}
        options={[{ value: "1", label: "Today" }, { value: "7", label: "7 days" }, { value: "30", label: "30 days" }, { value: "365", label: "Year" }]} />
    </div>}>
      <Failure of={totals} what="Usage" />
      {period.value !== "1" && list.length > 0 && <Days list={days.data.value ?? []} count={Number(period.value)} />}
      {totals.data.value === null ? !totals.error.value && <Spinner label="Adding up" /> : list.length === 0 ? <p class="muted">Nothing was used in this time.</p> : <Table list={list} by={by.value} />}
    </Section>
  );
}

function Table({ list, by: apart }: { list: readonly Total[]; by: By }) {
  const most = tokens(list[0]!) || 1;
  return (
    <div class="table" role="region" aria-label="Usage" tabIndex={0}>
      <table>
        <thead><tr><th>{apart === "key" ? "Key" : "Tier"}</th><th>Tokens</th><th class="right">Prompts</th><th class="right">Of them cached</th><th class="right">Answers</th><th class="right">Requests</th><th class="right">Failed</th></tr></thead>
        <tbody>
          {list.map((t) => (
            <tr key={t.key ?? t.model ?? ""}>
              <th scope="row"><Name total={t} by={apart} /></th>
              <td class="wide"><Meter label="Share of the most" value={tokens(t) / most} /><span class="hint">{whole(tokens(t))}</span></td>
              <td class="right">{whole(t.prompt_tokens)}</td>
              <td class="right">{whole(t.cached_tokens)}</td>
              <td class="right">{whole(t.completion_tokens)}</td>
              <td class="right">{whole(t.requests)}</td>
              <td class={`right${t.failed > 0 ? " some" : ""}`}>{whole(t.failed)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Name({ total: t, by: apart }: { total: Total; by: By }) {
  if (apart === "model") return t.model ? <>{t.model}</> : <span class="muted">no model</span>;
  if (!t.key) return <span class="muted">without a key</span>;
  const key = keys.data.value?.find((k) => k.id === t.key);
  return key ? <>{key.name}{key.revoked && <span class="muted"> (revoked)</span>}</> : <code>{t.key}</code>;
}

/** Tokens of each day, of which the server tells those on which there were some. */
function Days({ list, count }: { list: readonly Total[]; count: number }) {
  const { x, prompts, all } = useMemo(() => {
    const found = new Map(list.map((t) => [t.period, t]));
    const names = Array.from({ length: count }, (_, i) => daysAgo(count - 1 - i));
    return {
      x: names.map((n) => Date.parse(n) / 1000),
      prompts: names.map((n) => found.get(n)?.prompt_tokens ?? 0),
      all: names.map((n) => { const t = found.get(n); return t ? tokens(t) : 0; }),
    };
  }, [list, count]);
  const sum = all.reduce((a, b) => a + b, 0);
  // The bars of prompts stand before those of all, so that what is seen of these is the answers.
  return (
    <>
      <Failure of={days} what="Usage by day" />
      <Chart x={x} time="days" height={140} min={0} format={short} formatX={(d) => new Date(d * 1000).toLocaleDateString("en", { day: "numeric", month: "short", timeZone: "UTC" })}
        xRange={[x[0]! - 43_200, x.at(-1)! + 43_200]} summary={`Tokens by day over ${count} days: ${whole(sum)} in all`}
        series={[{ label: "Prompts and answers", color: "--series-1", values: all, draw: "bars" }, { label: "Of them prompts", color: "--series-2", values: prompts, draw: "bars" }]} />
    </>
  );
}

function short(n: number): string {
  return n >= 1e6 ? `${Number((n / 1e6).toFixed(1))} M` : n >= 1e4 ? `${Number((n / 1e3).toFixed(1))} k` : whole(n);
}

function tokens(t: Total): number {
  return t.prompt_tokens + t.completion_tokens;
}
