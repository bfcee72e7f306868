// The served models with what is imposed on them, their curves, and measuring these.
import { useEffect, useState } from "preact/hooks";
import type { CurvePoint } from "../api";
import { ApiError } from "../api";
import { refreshCard, toast } from "../store";
import { Button, Spinner } from "../ui/controls";
import { Confirm } from "../ui/overlay";
import { calibrate, type Calibration, type Tier } from "./admin";
import { Chart, type Series } from "./chart";
import { clock, few, span } from "./format";
import { Failure, Section } from "./index";
import { usePoll } from "./resource";
import { calibrations, curves, tiers } from "./state";

export function Tiers() {
  const list = tiers.data.value ?? [];
  const runs = calibrations.data.value ?? [];
  const running = runs.find((r) => r.state === "running");
  const [asking, setAsking] = useState<Tier | null>(null);
  usePoll(calibrations.load, running ? 1000 : 15_000);
  // A measurement that ended changes curves and levels, here and on the dial.
  const done = runs.filter((r) => r.state === "done").length;
  useEffect(() => {
    if (done === 0) return;
    void tiers.load();
    void refreshCard();
  }, [done]);
  const start = async (t: Tier) => {
    try {
      calibrations.set(await calibrate(t.id));
    } catch (e) {
      const busy = e instanceof ApiError && e.code === "calibrating";
      toast(busy ? "A measurement is running already; one runs at a time." : `${t.id} cannot be measured: ${e instanceof Error ? e.message : String(e)}`, "error");
      void calibrations.load();
    }
  };
  return (
    <Section title="Tiers" hint="What is served, with the noise that each imposes and what that noise means.">
      <Failure of={tiers} what="The tiers" />
      <Failure of={curves} what="The curves" />
      <div class="tiers">
        {list.map((t) => (
          <TierCard key={t.id} tier={t} curve={curves.data.value?.get(t.id)} run={runs.find((r) => r.model === t.id && r.state === "running")}
            measure={() => setAsking(t)} blocked={running !== undefined} />
        ))}
      </div>
      <Runs runs={runs} />
      {asking && (
        <Confirm
          title={`Measure ${asking.id}?`} action="Measure" onClose={() => setAsking(null)} onDo={() => void start(asking)}
          text="Aim answers a set of prompts to find out which noise gives which level. That takes about a minute on a small model and up to half of the engine's slots; what is served meanwhile is served with the old curve."
        />
      )}
    </Section>
  );
}

function TierCard({ tier: t, curve, run, measure, blocked }: { tier: Tier; curve: CurvePoint[] | null | undefined; run: Calibration | undefined; measure: () => void; blocked: boolean }) {
  return (
    <article class="card tier" aria-label={t.id}>
      <header>
        <h3>{t.id}</h3>
        <span class={`state ${t.loaded ? "ok" : ""}`}>{t.loaded ? "loaded" : "not loaded"}</span>
      </header>
      {t.base && t.base !== t.id && <p class="hint">made of {t.base}</p>}
      <dl class="tier-facts">
        <div><dt>Level</dt><dd>{t.level !== null ? t.level.toFixed(2) : t.sigma === 0 && t.loaded ? "1.00" : "–"}</dd></div>
        <div><dt><abbr title="standard deviation of the noise, in logits">σ</abbr></dt><dd>{few(t.sigma)}</dd></div>
      </dl>
      {curve === undefined && !curves.error.value && <Spinner label="Asking for the curve" />}
      {curve && curve.length > 1 && <Curve tier={t} points={curve} />}
      {curve === null && <p class="hint">{t.loaded ? "Not measured yet: nobody knows which noise gives which level." : "Its curve is known once it is loaded."}</p>}
      {run ? <Progress run={run} /> : <Button small icon={curve ? "retry" : "play"} disabled={blocked} onClick={measure}>{curve ? "Measure anew" : "Measure"}</Button>}
    </article>
  );
}

/** Level over σ, with a mark where the tier stands. */
function Curve({ tier: t, points }: { tier: Tier; points: readonly CurvePoint[] }) {
  const marked = t.sigma > 0 && t.level !== null;
  const all = marked && !points.some((p) => p.sigma === t.sigma) ? [...points, { sigma: t.sigma, level: t.level! }].sort((a, b) => a.sigma - b.sigma) : points;
  const series: Series[] = [{ label: "Level", color: "--series-1", values: all.map((p) => p.level) }];
  if (marked) series.push({ label: "This tier", color: "--series-4", values: all.map((p) => (p.sigma === t.sigma ? t.level : null)), draw: "points" });
  const end = all.at(-1)!;
  return (
    <Chart x={all.map((p) => p.sigma)} series={series} height={130} min={0} max={1} xRange={[0, end.sigma]} format={(v) => v.toFixed(2)} formatX={(x) => `σ ${few(x)}`}
      summary={`Level by noise: from 1 without noise to ${end.level.toFixed(2)} at σ ${few(end.sigma)}${marked ? `; this tier stands at σ ${few(t.sigma)}, level ${t.level!.toFixed(2)}` : ""}`} />
  );
}

function Progress({ run }: { run: Calibration }) {
  const percent = Math.round(run.fraction * 100);
  return (
    <div class="progress">
      <progress max={100} value={percent} aria-label={`Measuring ${run.model}`} />
      <span>{percent} %</span>
    </div>
  );
}

/** The measurements since the server's start. */
function Runs({ runs }: { runs: readonly Calibration[] }) {
  return (
    <>
      <Failure of={calibrations} what="The measurements" />
      {runs.length > 0 && (
        <div class="table" role="region" aria-label="Measurements" tabIndex={0}>
          <table>
            <caption>Measurements since the server's start</caption>
            <thead><tr><th>Tier</th><th>State</th><th>Begun</th><th class="right">Took</th></tr></thead>
            <tbody>
              {runs.map((r) => (
                <tr key={`${r.model} ${r.began}`}>
                  <th scope="row">{r.model}</th>
                  <td>{r.state === "running" ? <Progress run={r} /> : r.state === "done" ? <span class="state ok">done</span> : <><span class="state bad">failed</span> <span class="problem">{r.error}</span></>}</td>
                  <td>{clock(r.began)}</td>
                  <td class="right">{r.measured ? span((Date.parse(r.measured) - Date.parse(r.began)) / 1000) : "–"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}
