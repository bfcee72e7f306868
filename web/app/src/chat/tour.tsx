// The first minute: what to try next, until it was tried or dismissed.
import { signal } from "@preact/signals";
import { load, save } from "../db";
import { conversation, draft, tab } from "../store";
import { Button, IconButton } from "../ui/controls";
import { retry, runOf } from "./run";
import { path, type Conversation, type Node } from "./tree";

const over = signal(load("tour") === "over");

function end(): void {
  over.value = true;
  save("tour", "over");
}

/** Begins the tour again. */
export function beginTour(): void {
  over.value = false;
  save("tour", null);
}

/** What there is to try, by what was tried. */
function step(c: Conversation): number {
  const answers = Object.values(c.nodes).filter((n) => n.role === "assistant" && n.state === "done");
  if (answers.length === 0) return 0;
  const some = (f: (n: Node) => boolean | undefined) => answers.some(f);
  if (!some((n) => (n.asked?.aim.utility?.level ?? 1) < 1 || (n.asked?.aim.utility?.sigma ?? 0) > 0)) return 1;
  return some((n) => (n.asked?.aim.focus?.length ?? 0) > 0) ? 3 : 2;
}

export function Tour() {
  const c = conversation.value;
  if (over.value || runOf(c.id)) return null;
  const at = step(c);
  if (at === 0 || path(c).at(-1)?.state !== "done") return null;
  const again = () => {
    const last = path(conversation.value).findLast((n) => n.role === "assistant");
    if (last) retry(conversation.value.id, last.id);
  };
  return (
    <aside class="tour" aria-label="Tour">
      <span class="tour-step" aria-hidden="true">{at}/3</span>
      {at === 1 && <>
        <p>That was the model as it is. <b>Turn utility down</b>: at level 0.7, three tokens in ten are not its best ones.</p>
        <Button small kind="primary" onClick={() => { draft.utility.value = { level: 0.7 }; again(); }}>Ask again at 0.7</Button>
      </>}
      {at === 2 && <>
        <p>The arrows <b>‹ 1/2 ›</b> switch between the answers. Now <b>focus</b>: bring a word in, at full utility.</p>
        <Button small kind="primary" onClick={() => { draft.utility.value = null; draft.focus.value = [{ text: ["water", "river"], strength: 0.75 }]; again(); }}>Ask again with “water”</Button>
      </>}
      {at === 3 && <>
        <p>Both act on every request, and on none but yours. <b>Compare</b> shows several levels side by side.</p>
        <Button small kind="primary" onClick={() => { end(); draft.focus.value = []; tab.value = "compare"; }}>Compare levels</Button>
      </>}
      <IconButton icon="close" size={15} label="End the tour" onClick={end} />
    </aside>
  );
}
