// The utility section of the settings: how good the answers are.
import { Slider } from "../ui/controls";
import { card, draft } from "../store";

/** The dial of utility, from 1.0 down. */
export function Dial() {
  const asked = draft.utility.value?.level;
  const most = card.value?.utility.imposed ? (card.value.utility.level ?? 1) : 1;
  return (
    <Slider
      label="Level" value={asked ?? most} low={0.05} high={1} step={0.01} zero={1} format={(v) => v.toFixed(2)}
      onChange={(v) => (draft.utility.value = v >= most ? null : { level: v })}
    />
  );
}
