// The settings of the request on screen, beside every tab: utility, focus, the system prompt, and all sampling parameters with the server's bounds.
import { useId, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { FocusPanel } from "./focus/panel";
import { problem, type Param } from "./params";
import { draft, params, setParam, setSystem } from "./store";
import { Button, Growing, IconButton, NumberField, Range, Switch } from "./ui/controls";
import { Icon } from "./ui/icons";
import { Dial } from "./utility/dial";

export function Settings() {
  const changed = Object.keys(draft.params.value).length;
  return (
    <div class="settings">
      <Section name="Utility" open hint="How good the answers are: the share of tokens that stay the model's best." changed={draft.utility.value ? 1 : 0} reset={() => (draft.utility.value = null)}>
        <Dial />
      </Section>
      <Section name="Focus" open hint="What the answers attend to, or keep away from." changed={draft.focus.value.length} reset={() => (draft.focus.value = [])}>
        <FocusPanel />
      </Section>
      <Section name="System prompt" open={draft.system.value !== ""} changed={draft.system.value ? 1 : 0} reset={() => setSystem("")}>
        <Growing class="system" value={draft.system.value} onInput={setSystem} placeholder="You are a helpful assistant." aria-label="System prompt" />
      </Section>
      {params.value.map((g) => {
        const own = g.params.filter((p) => draft.params.value[p.name] !== undefined);
        return (
          <Section key={g.name} name={g.name} open={g.name === "Length" || g.name === "Randomness"} changed={own.length} reset={() => own.forEach((p) => setParam(p.name, undefined))}>
            {g.params.map((p) => <ParamRow key={p.name} param={p} />)}
          </Section>
        );
      })}
      <Section name="Recording" changed={draft.record.value ? 0 : 1} reset={() => (draft.record.value = true)}>
        <Switch label="Record answers for the inspector" checked={draft.record.value} onChange={(on) => (draft.record.value = on)} hint="Asks for log-probabilities and a report with each answer, which costs a little time." />
      </Section>
      {changed > 0 && <Button icon="reset" class="reset-all" onClick={() => (draft.params.value = {})}>Reset {changed} sampling {changed === 1 ? "parameter" : "parameters"}</Button>}
    </div>
  );
}

/** A part of the settings that folds. */
export function Section({ name, open = false, hint, changed = 0, reset, children }: { name: string; open?: boolean; hint?: string; changed?: number; reset?: () => void; children: ComponentChildren }) {
  const [shown, setShown] = useState(open);
  const id = useId();
  return (
    <section class="section">
      <h2>
        <button type="button" class="section-head" aria-expanded={shown} aria-controls={id} onClick={() => setShown(!shown)}>
          <Icon name={shown ? "down" : "right"} size={16} />
          <span>{name}</span>
          {changed > 0 && <span class="badge" aria-label={`${changed} changed`}>{changed}</span>}
        </button>
        {changed > 0 && reset && <IconButton icon="reset" size={15} label={`Reset ${name.toLowerCase()}`} onClick={reset} />}
      </h2>
      {shown && <div class="section-body" id={id}>{hint && <p class="hint">{hint}</p>}{children}</div>}
    </section>
  );
}

/** A sampling parameter: its name as the API has it stands in its explanation. */
function ParamRow({ param: p }: { param: Param }) {
  const [explained, setExplained] = useState(false);
  const id = useId();
  const value = draft.params.value[p.name];
  const bad = problem(p, value);
  return (
    <div class={`param${value !== undefined ? " changed" : ""}`}>
      <div class="param-head">
        <label for={id}>{p.label}</label>
        {value !== undefined && <IconButton icon="reset" size={14} label={`Reset ${p.label}`} onClick={() => setParam(p.name, undefined)} />}
        <IconButton icon="info" size={14} label={`What is ${p.label}?`} class="faint" aria-expanded={explained} onClick={() => setExplained(!explained)} />
        <span class="spread" />
        <Short param={p} id={id} value={value} bad={bad} />
      </div>
      <Long param={p} id={id} value={value} />
      {bad && <p class="problem" role="alert">{p.label} {bad}.</p>}
      {explained && <p class="hint"><code>{p.name}</code> {p.description}{range(p)}</p>}
    </div>
  );
}

function range(p: Param): string {
  const parts: string[] = [];
  if (p.min !== undefined && p.max !== undefined) parts.push(`from ${p.min} to ${p.max}`);
  else if (p.min !== undefined) parts.push(`at least ${p.min}`);
  if (p.special !== undefined && p.kind !== "choice") parts.push(`or ${p.special}`);
  if (["number", "string", "boolean"].includes(typeof p.default)) parts.push(`${parts.length > 0 ? "; " : ""}${String(p.default)} by itself`);
  return parts.length > 0 ? ` (${parts.join(" ").replace(" ; ", "; ")})` : "";
}

/** The control beside the label. */
function Short({ param: p, id, value, bad }: { param: Param; id: string; value: unknown; bad: string | null }) {
  switch (p.kind) {
    case "number":
    case "integer":
      return (
        <NumberField
          id={id} value={typeof value === "number" ? value : null} placeholder={p.default === undefined ? "" : p.default === -1 ? "auto" : String(p.default)} min={p.special ?? p.min} max={p.max}
          step={p.step} bad={bad} onChange={(v) => setParam(p.name, v ?? undefined)}
        />
      );
    case "boolean":
      return <input type="checkbox" role="switch" id={id} checked={Boolean(value ?? p.default)} onChange={(e) => setParam(p.name, e.currentTarget.checked === Boolean(p.default) ? undefined : e.currentTarget.checked)} />;
    case "choice":
      return (
        <select id={id} value={value === undefined ? "" : String(value)} onChange={(e) => {
          const text = e.currentTarget.value;
          const numeric = p.choices!.every((c) => c !== "" && Number.isFinite(Number(c)));
          setParam(p.name, text === "" ? undefined : numeric ? Number(text) : text);
        }}>
          <option value="">{p.default === undefined ? "default" : `${String(p.default)} (default)`}</option>
          {p.choices!.filter((c) => c !== String(p.default)).map((c) => <option key={c} value={c}>{c}</option>)}
        </select>
      );
    default:
      return null;
  }
}

/** The control under the label. */
function Long({ param: p, id, value }: { param: Param; id: string; value: unknown }) {
  if ((p.kind === "number" || p.kind === "integer") && p.low !== undefined && p.high !== undefined) {
    const standard = typeof p.default === "number" && p.default >= p.low && p.default <= p.high ? p.default : p.special === undefined || p.default !== p.special ? p.low : p.high;
    return (
      <Range
        value={typeof value === "number" ? value : standard} low={p.low} high={p.high} step={p.step} zero={standard} label={`${p.label}, slider`}
        onInput={(v) => setParam(p.name, v === p.default ? undefined : v)}
      />
    );
  }
  if (p.kind === "list") return <ListField id={id} value={value} onChange={(v) => setParam(p.name, v)} />;
  if (p.kind === "json") return <JSONField id={id} value={value} onChange={(v) => setParam(p.name, v)} />;
  if (p.kind === "text") return <Growing id={id} class="mono" spellcheck={false} value={typeof value === "string" ? value : ""} onInput={(t) => setParam(p.name, t === "" ? undefined : t)} />;
  return null;
}

/** Texts, one a line; \n and \t stand for a line's end and a tab. */
function ListField({ id, value, onChange }: { id: string; value: unknown; onChange: (list: string[] | undefined) => void }) {
  const [typed, setTyped] = useState<string | null>(null);
  const shown = Array.isArray(value) ? value.map((s) => String(s).replaceAll("\n", "\\n").replaceAll("\t", "\\t")).join("\n") : "";
  return (
    <Growing
      id={id} class="mono" spellcheck={false} placeholder="one text a line" value={typed ?? shown} onBlur={() => setTyped(null)}
      onInput={(text) => {
        setTyped(text);
        const list = text.split("\n").filter((s) => s !== "").map((s) => s.replaceAll("\\n", "\n").replaceAll("\\t", "\t"));
        onChange(list.length > 0 ? list : undefined);
      }}
    />
  );
}

/** JSON, which counts once it is whole. */
function JSONField({ id, value, onChange }: { id: string; value: unknown; onChange: (v: unknown) => void }) {
  const [typed, setTyped] = useState<string | null>(null);
  const [bad, setBad] = useState(false);
  return (
    <>
      <Growing
        id={id} class="mono" spellcheck={false} placeholder="JSON" aria-invalid={bad ? "true" : undefined} value={typed ?? (value === undefined ? "" : JSON.stringify(value))}
        onBlur={() => !bad && setTyped(null)}
        onInput={(text) => {
          setTyped(text);
          try {
            onChange(text.trim() === "" ? undefined : (JSON.parse(text) as unknown));
            setBad(false);
          } catch {
            setBad(true);
          }
        }}
      />
      {bad && <p class="problem">This is not JSON yet; the last that was counts.</p>}
    </>
  );
}
