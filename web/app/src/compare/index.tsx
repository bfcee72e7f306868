// The tab "Compare": one prompt at up to six levels, noises or models side by side.
import { useEffect, useMemo } from "preact/hooks";
import { signal } from "@preact/signals";
import type { ChatRequest } from "../api";
import { loadJSON, save } from "../db";
import { card, draft, models, offers, refreshCard } from "../store";
import { onScreen } from "../take/code";
import { Button, Growing, IconButton, NumberField, Range, round, Segments, Switch } from "../ui/controls";
import { Icon } from "../ui/icons";
import { levelOf, readCurve, restraint, sigmaOf } from "../utility/curve";
import { AskBar, askMessages, askRequest, told } from "./ask";
import { AnswerColumn } from "./column";
import { Run, type Job } from "./run";
import "./compare.css";

type By = "level" | "sigma" | "model";

/** A column's setting: a level, a σ or a model. */
interface Point {
  key: string;
  value: number | string;
}

/** What is compared; it is kept in the browser. */
interface Plan {
  by: By;
  points: Record<By, Point[]>;
  mark: boolean;
  gone: boolean;
}

const most = 6;
const first: Record<By, (number | string)[]> = { level: [1, 0.9, 0.7, 0.4], sigma: [0, 0.5, 1, 2], model: [] };
const next: Record<By, (number | string)[]> = { level: [1, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3, 0.1], sigma: [0, 0.25, 0.5, 1, 1.5, 2, 3, 5], model: [] };

function fresh(): Plan {
  const points = (by: By) => first[by].map((value, i) => ({ key: `${by}${i}`, value }));
  return { by: "level", points: { level: points("level"), sigma: points("sigma"), model: [] }, mark: true, gone: false };
}

/** What was kept, where it is whole. */
function restorePlan(): Plan {
  const kept = loadJSON<Plan>("compare");
  const plan = fresh();
  if (!kept || typeof kept !== "object" || !kept.points) return plan;
  for (const by of ["level", "sigma", "model"] as const) {
    const list = kept.points[by];
    const kind = by === "model" ? "string" : "number";
    if (Array.isArray(list)) plan.points[by] = list.filter((p) => typeof p?.key === "string" && typeof p.value === kind).slice(0, most);
  }
  return { ...plan, by: ["level", "sigma", "model"].includes(kept.by) ? kept.by : "level", mark: kept.mark !== false, gone: kept.gone === true };
}

const plan = signal(restorePlan());
const run = new Run(told);
/** What the columns that stand there were asked with; a first column that stands for itself. */
let counter = Date.now();

function change(part: Partial<Plan>): void {
  plan.value = { ...plan.value, ...part };
  save("compare", JSON.stringify(plan.value));
}

/** The points as they can be asked for: within what the model's owner imposes, where that is known, and of models that there are. */
function pointsOf(p: Plan): Point[] {
  const list = p.points[p.by];
  const u = card.value?.utility;
  if (p.by !== "model") {
    const limit = !u?.imposed ? null : p.by === "level" ? u.level : u.sigma;
    if (limit === null) return list;
    return list.map((x) => ({ ...x, value: p.by === "level" ? Math.min(Number(x.value), limit) : Math.max(Number(x.value), limit) }));
  }
  const known = list.filter((x) => models.value.some((m) => m.id === x.value));
  return known.length > 0 ? known : models.value.slice(0, most).map((m) => ({ key: `model:${m.id}`, value: m.id }));
}

function setPoints(points: Point[]): void {
  change({ points: { ...plan.value.points, [plan.value.by]: points } });
}

/** The request of one column by itself. Models are compared as they are offered, each with its own utility. */
function bodyOf(point: Point, shared: ChatRequest): ChatRequest {
  const { utility: _, ...aim } = shared.aim ?? {};
  if (plan.value.by === "model") return { ...shared, aim, model: String(point.value) };
  return { ...shared, aim: { ...aim, utility: plan.value.by === "level" ? { level: Number(point.value) } : { sigma: Number(point.value) } } };
}

/** The requests of what is on screen; one sweep where the columns are levels or noises, unless some might be refused, which would refuse all. Empty where nothing is asked. */
export function compareJobs(points: readonly Point[] = pointsOf(plan.value)): Job[] {
  const messages = askMessages();
  if (!messages) return [];
  const shared = askRequest(messages);
  const columns = points.map((p) => ({ key: p.key, body: bodyOf(p, shared) }));
  const apart = plan.value.by === "model" || points.length < 2 || !offers("/v1/aim/sweep") || card.value?.utility.imposed || card.value?.policy.previews === false;
  if (apart) return columns.map((c) => ({ path: "/v1/chat/completions", body: c.body, columns: [c] }));
  const { utility: _, ...aim } = shared.aim ?? {};
  const { aim: __, ...rest } = shared;
  const body = { ...rest, [plan.value.by === "level" ? "levels" : "sigmas"]: points.map((p) => p.value), ...(Object.keys(aim).length > 0 ? { aim } : {}) };
  return [{ path: "/v1/aim/sweep", body, columns }];
}

function start(points?: readonly Point[]): void {
  run.start(compareJobs(points), () => {
    if (card.value && !card.value.curve && plan.value.by === "level") void refreshCard();
  });
}

/** The tab. */
export function Compare() {
  const p = plan.value;
  const points = pointsOf(p);
  const columns = run.columns.value;
  const c = card.value;
  const curve = useMemo(() => readCurve(c?.curve), [c?.curve]);
  const held = p.by === "model" ? null : restraint(c?.utility);
  const limit = c?.utility.imposed ? (p.by === "level" ? c.utility.level : c.utility.sigma) : null;
  const base = points[0] && columns[points[0].key];
  const began = points.some((x) => columns[x.key]);
  useEffect(() => {
    onScreen.value = () => compareJobs()[0] ?? null;
    return () => void (onScreen.value = null);
  }, []);

  const set = (point: Point, value: number | string) => setPoints(points.map((x) => (x.key === point.key ? { ...x, value } : x)));
  /** Once there are answers, the column whose dial was moved answers anew. */
  const settle = (point: Point) => {
    const now = pointsOf(plan.value).find((x) => x.key === point.key);
    if (now && began && askMessages()) start([now]);
  };
  const add = () => {
    const used = new Set(points.map((x) => x.value));
    const choices = p.by === "model" ? models.value.map((m) => m.id) : next[p.by];
    const value = choices.find((v) => !used.has(v)) ?? choices[0];
    if (value === undefined) return;
    const point = { key: `p${(counter++).toString(36)}`, value };
    setPoints([...points, point]);
    settle(point);
  };
  const name = (x: Point) => (p.by === "level" ? `level ${Number(x.value).toFixed(2)}` : p.by === "sigma" ? `σ ${Number(x.value).toFixed(2)}` : String(x.value));

  return (
    <div class="compare">
      <AskBar
        part="Compare" run={run} label="Compare" onRun={() => start()}
        prompt={<Growing value={draft.prompt.value} onInput={(t) => (draft.prompt.value = t)} placeholder="One prompt for all columns" aria-label="Prompt" />}
        more={<>
          <Switch label="Mark differences" checked={p.mark} onChange={(mark) => change({ mark })} />
          {p.mark && <Switch label="Show what is left out" checked={p.gone} onChange={(gone) => change({ gone })} />}
        </>}
      >
        <div class="ask-row">
          <Segments label="Columns" value={p.by} onChange={(by) => change({ by })} options={[{ value: "level", label: "Levels" }, { value: "sigma", label: "σ" }, { value: "model", label: "Models" }]} />
          <span class="hint">{p.by === "model" ? "Each model with its own utility; all else is shared." : "Everything but utility is shared: the prompt, the settings beside, the seed."}</span>
          <span class="spread" />
          {points.length < most && (p.by !== "model" || models.value.length > points.length) && <Button small icon="plus" onClick={add}>{p.by === "model" ? "Add a model" : p.by === "level" ? "Add a level" : "Add a σ"}</Button>}
        </div>
        {held && <p class="note"><Icon name="key" size={15} /><span>{held.text}{held.blocked ? " Compare models instead." : ""}</span></p>}
      </AskBar>
      <div class="answers" role="region" aria-label="Answers side by side" tabIndex={0}>
        {points.map((x, i) => (
          <AnswerColumn
            key={x.key} part="Compare" name={name(x)} series={i + 1} column={columns[x.key]} {...(p.mark && i > 0 ? { base } : {})} gone={p.gone}
            empty={i === 0 ? "The first column is what the others are compared with." : "Its answer appears here."}
            onRetry={() => start([x])} onRemove={points.length > 1 ? () => setPoints(points.filter((y) => y !== x)) : undefined}
            head={p.by === "model"
              ? <ModelHead value={String(x.value)} onChange={(v) => { set(x, v); settle({ ...x, value: v }); }} />
              : <DialHead by={p.by} value={Number(x.value)} curve={curve} limit={limit} disabled={held?.blocked ?? false} onInput={(v) => set(x, v)} onSettle={() => settle(x)} />}
          />
        ))}
      </div>
    </div>
  );
}

function ModelHead({ value, onChange }: { value: string; onChange: (id: string) => void }) {
  return (
    <select aria-label="Model of this column" value={value} onChange={(e) => onChange(e.currentTarget.value)}>
      {models.value.map((m) => <option key={m.id} value={m.id}>{m.id}</option>)}
    </select>
  );
}

/** A column's own dial. */
function DialHead({ by, value, curve, limit, disabled, onInput, onSettle }: {
  by: "level" | "sigma"; value: number; curve: ReturnType<typeof readCurve>;
  /** What the owner imposes; null where nothing is known of it. */
  limit: number | null; disabled: boolean; onInput: (v: number) => void; onSettle: () => void;
}) {
  const other = curve ? (by === "level" ? sigmaOf(curve, value) : levelOf(curve, value)) : null;
  const low = by === "level" ? 0.05 : (limit ?? 0), high = by === "level" ? (limit ?? 1) : Math.max(5, limit ?? 0);
  const told = other === null ? "" : by === "level" ? `σ ${other.toFixed(2)}` : `level ${other.toFixed(2)}`;
  return (
    <div class="column-dial">
      <label class="dial-number"><span>{by === "level" ? "Level" : "σ"}</span><NumberField value={Number(value.toFixed(3))} min={by === "level" ? 0.01 : 0} max={by === "level" ? 1 : 100} step={0.05} onChange={(v) => { if (v !== null && v >= 0 && (by === "sigma" || (v > 0 && v <= 1))) { onInput(round(v)); onSettle(); } }} /></label>
      <span class="muted">{told}</span>
      <IconButton icon="check" size={15} label={`Use ${by === "level" ? "level" : "σ"} ${value.toFixed(2)} in all tabs`} disabled={disabled} onClick={() => (draft.utility.value = by === "level" ? (value >= high ? null : { level: value }) : value <= low ? null : { sigma: value })} />
      <Range value={value} low={low} high={high} step={by === "level" ? 0.01 : 0.05} zero={by === "level" ? high : low} disabled={disabled} label={by === "level" ? "Level of this column" : "σ of this column"} text={`${value.toFixed(2)}${told ? `, ${told}` : ""}`} onInput={(v) => onInput(round(v))} onChange={onSettle} />
    </div>
  );
}
