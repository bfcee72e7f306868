// Small controls: buttons, sliders, switches, fields, chips.
import type { ButtonHTMLAttributes, ComponentChildren, TextareaHTMLAttributes } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { Icon, type IconName } from "./icons";

interface ButtonProps extends Omit<ButtonHTMLAttributes<HTMLButtonElement>, "icon" | "size"> {
  kind?: "plain" | "primary" | "quiet" | "danger";
  icon?: IconName;
  small?: boolean;
  children?: ComponentChildren;
}

export function Button({ kind = "plain", icon, small, children, class: more, ...rest }: ButtonProps) {
  return (
    <button type="button" class={`button ${kind}${small ? " small" : ""}${more ? ` ${String(more)}` : ""}`} {...rest}>
      {icon && <Icon name={icon} size={small ? 16 : 18} />}
      {children}
    </button>
  );
}

/** A button that shows an icon only; label is what it is called. */
export function IconButton({ icon, label, size, class: more, ...rest }: { icon: IconName; label: string; size?: number } & Omit<ButtonHTMLAttributes<HTMLButtonElement>, "icon" | "label" | "size">) {
  return (
    <button type="button" class={`icon-button${more ? ` ${String(more)}` : ""}`} aria-label={label} title={label} {...rest}>
      <Icon name={icon} {...(size ? { size } : {})} />
    </button>
  );
}

/** A range without a number beside it. zero marks where nothing happens, and the fill begins there. */
export function Range({ value, low, high, step = 0.01, zero, onInput, onChange, id, disabled, label, text }: {
  value: number; low: number; high: number; step?: number; zero?: number; onInput: (value: number) => void; onChange?: (value: number) => void;
  id?: string; disabled?: boolean;
  /** What it is called where no label names it, and what its value is called. */
  label?: string; text?: string;
}) {
  const share = (v: number) => `calc(var(--thumb) / 2 + (100% - var(--thumb)) * ${(Math.min(Math.max(v, low), high) - low) / (high - low || 1)})`;
  const from = zero ?? low;
  return (
    <input
      type="range" class="range" min={low} max={high} step={step} value={value}
      style={{ "--from": share(Math.min(from, value)), "--to": share(Math.max(from, value)) }}
      onInput={(e) => onInput(e.currentTarget.valueAsNumber)} onChange={(e) => onChange?.(e.currentTarget.valueAsNumber)}
      id={id} disabled={disabled} aria-label={label} aria-valuetext={text}
    />
  );
}

/** A number in a field, which may be typed outside the bounds; bad says what is wrong then. null is an empty field. */
export function NumberField({ value, placeholder, min, max, step, label, bad, onChange, id }: {
  value: number | null; placeholder?: string; min?: number; max?: number; step?: number; label?: string; bad?: string | null; onChange: (value: number | null) => void; id?: string;
}) {
  // What is typed stays as it is typed: "0." is on the way to "0.5".
  const [typed, setTyped] = useState<string | null>(null);
  const shown = typed ?? (value === null ? "" : String(round(value)));
  return (
    <input
      class="number" type="text" inputMode={min !== undefined && min >= 0 ? "decimal" : "text"} id={id} aria-label={label} aria-invalid={bad ? "true" : undefined} title={bad ?? undefined}
      placeholder={placeholder} value={shown} autocomplete="off"
      onInput={(e) => {
        const text = e.currentTarget.value;
        setTyped(text);
        if (text.trim() === "") onChange(null);
        else if (Number.isFinite(Number(text))) onChange(Number(text));
      }}
      onKeyDown={(e) => {
        const by = e.key === "ArrowUp" ? 1 : e.key === "ArrowDown" ? -1 : 0;
        if (by === 0) return;
        e.preventDefault();
        setTyped(null);
        const from = value ?? Number(placeholder);
        const next = round((Number.isFinite(from) ? from : (min ?? 0)) + by * (step ?? 1));
        onChange(Math.min(Math.max(next, min ?? next), max ?? next));
      }}
      onBlur={() => setTyped(null)}
    />
  );
}

/** Without the noise of binary fractions. */
export function round(x: number): number {
  return Number(x.toPrecision(10));
}

/** A slider with a label, and a field for its number. */
export function Slider({ label, value, low, high, step, zero, min, max, format, onChange, hint }: {
  label: string; value: number; low: number; high: number; step?: number; zero?: number; min?: number; max?: number; format?: (value: number) => string; onChange: (value: number) => void; hint?: string;
}) {
  const id = useId();
  return (
    <div class="slider">
      <label for={id}>{label}</label>
      {format ? <output for={id}>{format(value)}</output> : (
        <NumberField value={value} min={min ?? low} max={max ?? high} step={step} label={`${label}, number`} onChange={(v) => v !== null && onChange(v)} />
      )}
      <Range id={id} value={value} low={low} high={high} step={step} zero={zero} onInput={onChange} text={format?.(value)} />
      {hint && <p class="hint">{hint}</p>}
    </div>
  );
}

export function Switch({ label, checked, onChange, hint, disabled }: { label: ComponentChildren; checked: boolean; onChange: (on: boolean) => void; hint?: ComponentChildren; disabled?: boolean }) {
  return (
    <label class="switch">
      <input type="checkbox" role="switch" checked={checked} disabled={disabled} onChange={(e) => onChange(e.currentTarget.checked)} />
      <span>{label}{hint && <span class="hint">{hint}</span>}</span>
    </label>
  );
}

/** A label over a control. */
export function Field({ label, hint, children }: { label: ComponentChildren; hint?: ComponentChildren; children: ComponentChildren }) {
  return (
    <label class="field">
      <span class="field-label">{label}</span>
      {children}
      {hint && <span class="hint">{hint}</span>}
    </label>
  );
}

/** A word or two that can be taken away, or chosen. tone colours it. */
export function Chip({ children, tone, pressed, onClick, onRemove, removeLabel }: {
  children: ComponentChildren; tone?: "raise" | "lower" | "accent"; pressed?: boolean; onClick?: () => void; onRemove?: () => void; removeLabel?: string;
}) {
  const inside = onClick ? <button type="button" class="chip-main" aria-pressed={pressed} onClick={onClick}>{children}</button> : <span class="chip-main">{children}</span>;
  return (
    <span class={`chip${tone ? ` ${tone}` : ""}`}>
      {inside}
      {onRemove && <button type="button" class="chip-remove" aria-label={removeLabel ?? "Remove"} onClick={onRemove}><Icon name="close" size={13} /></button>}
    </span>
  );
}

/** A few choices of which one holds. */
export function Segments<T extends string>({ label, options, value, onChange }: { label: string; options: readonly { value: T; label: ComponentChildren; title?: string }[]; value: T; onChange: (value: T) => void }) {
  const name = useId();
  return (
    <div class="segments" role="radiogroup" aria-label={label}>
      {options.map((o) => (
        <label key={o.value} title={o.title}>
          <input type="radio" name={name} checked={o.value === value} onChange={() => onChange(o.value)} />
          <span>{o.label}</span>
        </label>
      ))}
    </div>
  );
}

/** A button that copies a text, and says so. */
export function CopyButton({ text, label = "Copy", quiet }: { text: () => string; label?: string; quiet?: boolean }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return undefined;
    const t = setTimeout(() => setCopied(false), 1600);
    return () => clearTimeout(t);
  }, [copied]);
  const click = () => void copyText(text()).then(setCopied);
  if (quiet) return <IconButton icon={copied ? "check" : "copy"} label={copied ? "Copied" : label} onClick={click} />;
  return <Button small icon={copied ? "check" : "copy"} onClick={click}>{copied ? "Copied" : label}</Button>;
}

/** Copies a text; false where the browser refuses. Without a secure origin there is no clipboard but by a selection. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "offscreen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** A field that grows with its text, up to what its style allows. */
export function Growing({ value, onInput, inputRef, ...rest }: {
  value: string; onInput: (text: string) => void; inputRef?: (e: HTMLTextAreaElement | null) => void;
} & Omit<TextareaHTMLAttributes<HTMLTextAreaElement>, "value" | "onInput" | "ref">) {
  const ref = useRef<HTMLTextAreaElement | null>(null);
  useEffect(() => {
    const e = ref.current;
    if (!e) return;
    e.style.height = "auto";
    e.style.height = `${e.scrollHeight + e.offsetHeight - e.clientHeight}px`;
  }, [value]);
  return (
    <textarea
      rows={1} value={value} onInput={(e) => onInput(e.currentTarget.value)} {...rest}
      ref={(e) => {
        ref.current = e;
        inputRef?.(e);
      }}
    />
  );
}

export function Spinner({ label }: { label: string }) {
  return <span class="spinner" role="status"><span class="offscreen">{label}</span></span>;
}

/** Says what is not there yet, and what to do. */
export function Empty({ icon, title, children }: { icon?: IconName; title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      {icon && <span class="empty-icon"><Icon name={icon} size={26} /></span>}
      <h2>{title}</h2>
      {children}
    </div>
  );
}
