// The utility section of the settings: how good the answers are.
import { useEffect, useMemo, useState } from "preact/hooks";
import { path } from "../chat/tree";
import { card, conversation, draft, refreshCard } from "../store";
import { NumberField, Range, round, Segments } from "../ui/controls";
import { Icon } from "../ui/icons";
import { Curve } from "./chart";
import { levelOf, meaning, readCurve, restraint, sigmaOf } from "./curve";
import "./utility.css";

/** The lowest level of the dial; numbers below it can be typed. */
const low = 0.05;
/** The most noise of the slider of σ. */
const high = 5;

/** The dial of utility, from 1.0 down: what it is set to is asked for with the next request. */
export function Dial() {
  const c = card.value;
  const curve = useMemo(() => readCurve(c?.curve), [c?.curve]);
  const held = restraint(c?.utility);
  const asked = draft.utility.value;
  const [chosen, setChosen] = useState<"level" | "sigma">(asked?.sigma !== undefined ? "sigma" : "level");
  const by = curve ? "level" : asked?.sigma !== undefined ? "sigma" : asked?.level !== undefined ? "level" : chosen;
  useFresh(curve === null && c !== null && !held?.blocked);

  const imposed = c?.utility.imposed ? (c.utility.level ?? (curve && c.utility.sigma !== null ? levelOf(curve, c.utility.sigma) : null)) : null;
  const most = imposed ?? 1;
  const fromSigma = asked?.sigma !== undefined && curve ? levelOf(curve, asked.sigma) : null;
  const level = asked?.level ?? (asked?.sigma !== undefined ? (fromSigma ?? low) : most);
  const sigma = asked?.sigma ?? (curve ? sigmaOf(curve, level) : level >= 1 ? 0 : null);
  const setLevel = (v: number) => void (draft.utility.value = v >= most ? null : { level: round(v) });
  const setSigma = (v: number) => void (draft.utility.value = v <= (c?.utility.sigma ?? 0) ? null : { sigma: round(v) });
  const disabled = held?.blocked ?? false;
  const known = by === "level" && !(asked?.sigma !== undefined && fromSigma === null);

  return (
    <div class={`dial${disabled ? " disabled" : ""}`} aria-disabled={disabled}>
      {!curve && !disabled && (
        <Segments label="Set utility by" value={by} options={[{ value: "level", label: "Level" }, { value: "sigma", label: "σ, the noise" }]} onChange={(v) => { setChosen(v); draft.utility.value = null; }} />
      )}
      <fieldset disabled={disabled}>
        <legend class="offscreen">Utility</legend>
        <div class="dial-head">
          {by === "level" && <label class="dial-number"><span>Level</span><NumberField value={known ? Number(level.toFixed(3)) : null} placeholder="?" min={0.01} max={most} step={0.01} onChange={(v) => v !== null && v > 0 && setLevel(Math.min(v, most))} /></label>}
          <label class="dial-number small"><span title="The standard deviation of the noise on all logits">σ</span><NumberField value={sigma === null ? null : Number(sigma.toFixed(3))} placeholder={imposed !== null ? "hidden" : "?"} min={0} max={100} step={0.05} onChange={(v) => v !== null && v >= 0 && setSigma(Math.min(v, 100))} /></label>
        </div>
        {curve && <Curve curve={curve} low={low} level={level} most={most} disabled={disabled} onPick={setLevel} />}
        {by === "level"
          ? <Range value={Math.max(low, level)} low={low} high={1} step={0.01} zero={1} disabled={disabled} label="Level of utility" text={`${level.toFixed(2)}${sigma !== null ? `, σ ${sigma.toFixed(2)}` : ""}`} onInput={setLevel} />
          : <Range value={Math.min(high, asked?.sigma ?? 0)} low={0} high={high} step={0.05} disabled={disabled} label="σ, the noise" text={(asked?.sigma ?? 0).toFixed(2)} onInput={setSigma} />}
      </fieldset>
      {by === "level" && !disabled && <p class="dial-meaning">{known ? meaning(level) : "So much noise is beyond the curve."}</p>}
      {held && <p class="note"><Icon name={disabled ? "key" : "info"} size={15} /><span>{held.text}</span></p>}
      {!curve && !disabled && c && by === "level" && (
        <p class="note"><Icon name="info" size={15} /><span>There is no curve of this model yet. The first answer at a level below 1 measures it, which may take a minute; σ works at once.</span></p>
      )}
    </div>
  );
}

/** Asks for the curve again when an answer has ended, as long as there is none. */
function useFresh(wanted: boolean): void {
  const last = path(conversation.value).at(-1);
  const ended = last?.role === "assistant" && last.state !== "streaming" ? last.id : "";
  useEffect(() => {
    if (wanted && ended) void refreshCard();
  }, [ended]);
}
