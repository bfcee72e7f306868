// The focus section of the settings: words with a strength.
import { draft } from "../store";

/** The entries of focus of the request on screen. */
export function FocusPanel() {
  const list = draft.focus.value;
  return <p class="hint">{list.length === 0 ? "No focus: the answer attends to what the prompt says." : `${list.length} ${list.length === 1 ? "entry" : "entries"} of focus.`}</p>;
}
