// Keyboard shortcuts: one table, which the page obeys and the help shows.
import { Button } from "./ui/controls";
import { Dialog } from "./ui/overlay";

export interface Shortcut {
  /** As KeyboardEvent.key, with "Mod+" where Ctrl (on a Mac, Command) is held, and "Shift+" and "Alt+". */
  keys: string;
  text: string;
  /** Whether it also works while something is typed. */
  typing?: boolean;
  /** False leaves the key to the browser. */
  run?: () => boolean | void;
}

const mac = typeof navigator !== "undefined" && /Mac|iP(hone|ad)/.test(navigator.platform);
const registered = new Map<string, Shortcut[]>();

/** Registers the shortcuts of a part of the page, and returns what takes them back. */
export function register(part: string, list: Shortcut[]): () => void {
  registered.set(part, list);
  return () => {
    if (registered.get(part) === list) registered.delete(part);
  };
}

/** Runs the shortcut of a key, if there is one. */
export function handleKey(e: KeyboardEvent): void {
  if (e.defaultPrevented || e.isComposing || document.querySelector("dialog[open]")) return;
  const target = e.target as HTMLElement;
  const typing = target.isContentEditable || /^(TEXTAREA|SELECT)$/.test(target.tagName) || (target.tagName === "INPUT" && !/^(checkbox|radio|range|button)$/.test((target as HTMLInputElement).type));
  const key = `${e.ctrlKey || e.metaKey ? "Mod+" : ""}${e.altKey ? "Alt+" : ""}${e.shiftKey && e.key.length > 1 ? "Shift+" : ""}${keyName(e)}`;
  for (const list of registered.values()) {
    for (const s of list) {
      if (s.keys !== key || !s.run || (typing && !s.typing)) continue;
      if (s.run() !== false) e.preventDefault();
      return;
    }
  }
}

/** With Alt, keyboards type other characters, so that the place of the key counts. */
function keyName(e: KeyboardEvent): string {
  const place = e.altKey ? /^(?:Key|Digit)(.)$/.exec(e.code)?.[1] : undefined;
  return place?.toLowerCase() ?? (e.key.length === 1 ? e.key.toLowerCase() : e.key);
}

/** The keys of a shortcut as they are printed on the keyboard. */
export function Keys({ keys }: { keys: string }) {
  const names: Record<string, string> = { Mod: mac ? "⌘" : "Ctrl", Alt: mac ? "⌥" : "Alt", Shift: "⇧", Enter: "↵", Escape: "Esc", ArrowUp: "↑", ArrowDown: "↓", " ": "Space" };
  return <span class="keys">{keys.split("+").map((k) => <kbd key={k}>{names[k] ?? k.toUpperCase()}</kbd>)}</span>;
}

/** All shortcuts. */
export function Help({ onClose, onTour }: { onClose: () => void; onTour: () => void }) {
  return (
    <Dialog title="Help" onClose={onClose} footer={<Button onClick={() => { onClose(); onTour(); }}>Begin the tour</Button>}>
      {[...registered].map(([part, list]) => (
        <section key={part} class="help">
          <h3>{part}</h3>
          <dl>{list.map((s) => <div key={s.keys}><dt>{s.text}</dt><dd><Keys keys={s.keys} /></dd></div>)}</dl>
        </section>
      ))}
      <p class="hint"><b>Utility</b> is how good the answers are: below 1, noise on the model's logits lets other tokens than its best ones win. <b>Focus</b> brings words in, or keeps them out, or lets a part of the prompt weigh more or less. A reference of all fields is at <a href="/openapi.json" target="_blank" rel="noopener">/openapi.json</a>, and the licences of what this page is built from <a href="/assets/licenses.txt" target="_blank" rel="noopener">here</a>.</p>
      <p class="hint">In tabs, menus and sliders, the arrow keys, Home and End move. Tab goes to the next control.</p>
    </Dialog>
  );
}
