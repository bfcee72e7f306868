// What the engines do now, and how long answers take.
import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";
import { Spinner } from "../ui/controls";
import type { Engine } from "./admin";
import { Chart } from "./chart";
import { few, seconds, span, whole } from "./format";
import { Failure, Section } from "./index";
import { usePoll } from "./resource";
import { live, look, looks, window_ } from "./state";

export function LiveSection() {
  usePoll(look, 2000);
  const now = live.data.value;
  const list = looks.value;
  const series = useMemo(() => ({
    x: list.map((l) => l.at),
    answers: list.map((l) => sum(l.live.engines, "tokens_per_second")),
    prompts: list.map((l) => sum(l.live.engines, "prompt_tokens_per_second")),
    first50: list.map((l) => l.live.latency.first_token_p50_s),
    first95: list.map((l) => l.live.latency.first_token_p95_s),
  }), [list]);
  if (!now) return <Section title="Now"><Failure of={live} what="What the server does" />{!live.error.value && <Spinner label="Asking the server" />}</Section>;
  const { latency } = now;
  const end = series.x.at(-1) ?? 0;
  const common = { x: series.x, time: "clock" as const, formatX: (x: number) => time(x), min: 0, xRange: [end - Math.min(Math.max(end - (series.x[0] ?? end), 60), window_), end] as [number, number] };
  const rate = sum(now.engines, "tokens_per_second");
  return (
    <Section title="Now" hint={`Up for ${span(now.uptime_s)}. Latencies are those of the last five minutes.`}>
      <Failure of={live} what="What the server does" />
      <dl class="tiles">
        <Tile label="Answers" value={few(rate)} unit="tokens/s" more={`${few(sum(now.engines, "prompt_tokens_per_second"))} tokens/s of prompts`} />
        <Tile label="First token" value={seconds(latency.first_token_p50_s)} more={`95 % within ${seconds(latency.first_token_p95_s)}`} />
        <Tile label="Between tokens" value={seconds(latency.inter_token_p50_s)} more={`95 % within ${seconds(latency.inter_token_p95_s)}`} />
        <Tile label="Requests" value={whole(now.requests_per_minute)} unit="in the last minute" more={`${whole(sum(now.engines, "busy"))} at work, ${whole(sum(now.engines, "queued"))} waiting`} />
      </dl>
      <div class="charts">
        <div>
          <h3>Throughput, tokens per second</h3>
          <Chart {...common} format={few} summary={`Throughput over the last five minutes: now ${few(rate)} tokens per second of answers`}
            series={[{ label: "Answers", color: "--series-1", values: series.answers }, { label: "Prompts", color: "--series-2", values: series.prompts, dashed: true }]} />
        </div>
        <div>
          <h3>Time to the first token</h3>
          <Chart {...common} format={seconds} summary={`Time to the first token over the last five minutes: half within ${seconds(latency.first_token_p50_s)}, 95 % within ${seconds(latency.first_token_p95_s)}`}
            series={[{ label: "Half within", color: "--series-1", values: series.first50 }, { label: "95 % within", color: "--series-3", values: series.first95, dashed: true }]} />
        </div>
      </div>
      {now.engines.length === 0 ? <p class="muted">No model is loaded; one is with the first request to it.</p> : (
        <div class="table" role="region" aria-label="Engines" tabIndex={0}>
          <table>
            <thead><tr><th>Engine</th><th>Slots at work</th><th class="right">Waiting</th><th>KV cache</th><th class="right">Tokens/s</th></tr></thead>
            <tbody>{now.engines.map((e) => <EngineRow key={e.name} engine={e} />)}</tbody>
          </table>
        </div>
      )}
    </Section>
  );
}

function EngineRow({ engine: e }: { engine: Engine }) {
  const share = e.kv_cells > 0 ? e.kv_used / e.kv_cells : 0;
  return (
    <tr>
      <th scope="row">{e.name}</th>
      <td>
        <span class="slots">
          {e.slots <= 32 && <span class="cells" aria-hidden="true">{Array.from({ length: e.slots }, (_, i) => <i key={i} class={i < e.busy ? "busy" : ""} />)}</span>}
          <span>{e.busy} of {e.slots}</span>
        </span>
      </td>
      <td class="right">{e.queued}</td>
      <td>
        <Meter label={`KV cache of ${e.name}`} value={share} />
        <span class="hint">{whole(e.kv_used)} of {whole(e.kv_cells)} tokens · {(share * 100).toFixed(0)} %</span>
      </td>
      <td class="right">{few(e.tokens_per_second)}</td>
    </tr>
  );
}

/** A share in [0, 1] as a bar. */
export function Meter({ label, value }: { label: string; value: number }) {
  return <span class="meter" role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(value * 100)}><i style={{ width: `${Math.min(value, 1) * 100}%` }} /></span>;
}

function Tile({ label, value, unit, more }: { label: string; value: string; unit?: string; more: ComponentChildren }) {
  return (
    <div class="tile">
      <dt>{label}</dt>
      <dd><b>{value}</b>{unit && <> {unit}</>}<span class="hint">{more}</span></dd>
    </div>
  );
}

function sum(list: readonly Engine[], field: Exclude<keyof Engine, "name">): number {
  return list.reduce((n, e) => n + e[field], 0);
}

function time(x: number): string {
  return new Date(x * 1000).toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}
