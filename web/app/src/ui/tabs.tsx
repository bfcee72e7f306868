// Tabs as a row of buttons, of which the arrows choose.
import type { ComponentChildren } from "preact";

export interface TabEntry<T extends string> {
  value: T;
  label: ComponentChildren;
}

/** A row of tabs. The panel of each has the id `panel-${value}`, and is labelled by `tab-${value}`. */
export function Tabs<T extends string>({ label, entries, value, onChange }: { label: string; entries: readonly TabEntry<T>[]; value: T; onChange: (value: T) => void }) {
  const move = (e: KeyboardEvent) => {
    const at = entries.findIndex((t) => t.value === value);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: entries.length - 1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    const next = entries[(to + entries.length) % entries.length]!.value;
    onChange(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={label} onKeyDown={move}>
      {entries.map((t) => (
        <button
          key={t.value} type="button" role="tab" id={`tab-${t.value}`} aria-selected={t.value === value} aria-controls={t.value === value ? `panel-${t.value}` : undefined}
          tabIndex={t.value === value ? 0 : -1} onClick={() => onChange(t.value)}
        >{t.label}</button>
      ))}
    </div>
  );
}
