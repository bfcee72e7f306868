// What lies over the page: dialogs, drawers, menus, toasts.
import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { dismiss, toasts } from "../store";
import { Button, IconButton } from "./controls";
import { Icon, type IconName } from "./icons";

/** A modal dialog, shown while it is rendered. Escape, its button and a click beside it close it; the browser keeps the focus within. side makes it a drawer. */
export function Dialog({ title, onClose, children, side, wide, footer }: {
  title: string; onClose: () => void; children: ComponentChildren; side?: "left" | "right"; wide?: boolean; footer?: ComponentChildren;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useLayoutEffect(() => {
    const before = document.activeElement;
    const dialog = ref.current!;
    dialog.showModal();
    return () => {
      dialog.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={ref} class={`dialog${side ? ` drawer ${side}` : ""}${wide ? " wide" : ""}`} aria-labelledby={id}
      onCancel={(e) => {
        e.preventDefault();
        onClose();
      }}
      onPointerDown={(e) => e.target === ref.current && onClose()}
    >
      <div class="dialog-inside">
        <header>
          <h2 id={id}>{title}</h2>
          <IconButton icon="close" label="Close" onClick={onClose} />
        </header>
        <div class="dialog-body">{children}</div>
        {footer && <footer>{footer}</footer>}
      </div>
    </dialog>
  );
}

/** Asks before something cannot be taken back. */
export function Confirm({ title, text, action, onDo, onClose }: { title: string; text: string; action: string; onDo: () => void; onClose: () => void }) {
  return (
    <Dialog title={title} onClose={onClose} footer={<>
      <Button onClick={onClose}>Cancel</Button>
      <Button kind="danger" onClick={() => { onClose(); onDo(); }}>{action}</Button>
    </>}>
      <p>{text}</p>
    </Dialog>
  );
}

export interface MenuItem {
  label: ComponentChildren;
  hint?: ComponentChildren;
  icon?: IconName;
  danger?: boolean;
  /** Of a choice: whether it holds. */
  checked?: boolean;
  disabled?: boolean;
  run: () => void;
}

/** A button that opens a menu. The arrows, Home, End and Escape work in it. */
export function Menu({ label, button, items, class: more, align = "end", up, disabled }: {
  label: string; button: ComponentChildren; items: () => readonly MenuItem[]; class?: string; align?: "start" | "end"; up?: boolean; disabled?: boolean;
}) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const opener = useRef<HTMLButtonElement>(null);
  const id = useId();
  const entries = () => [...(root.current?.querySelectorAll<HTMLButtonElement>("[role^=menuitem]:not(:disabled)") ?? [])];
  useEffect(() => {
    if (!open) return undefined;
    const list = entries();
    (list.find((e) => e.getAttribute("aria-checked") === "true") ?? list[0])?.focus();
    const outside = (e: Event) => {
      if (!root.current?.contains(e.target as Element)) setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("focusin", outside);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("focusin", outside);
    };
  }, [open]);
  const close = () => {
    setOpen(false);
    opener.current?.focus();
  };
  const move = (e: KeyboardEvent) => {
    const list = entries();
    const at = list.indexOf(document.activeElement as HTMLButtonElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: list.length - 1 }[e.key];
    if (e.key === "Escape" && open) {
      e.stopPropagation();
      close();
    } else if (to !== undefined && open) {
      list[(to + list.length) % list.length]?.focus();
    } else return;
    e.preventDefault();
  };
  return (
    <div class={`menu${more ? ` ${more}` : ""}`} ref={root} onKeyDown={move}>
      <button
        type="button" ref={opener} class="menu-opener" aria-haspopup="menu" aria-expanded={open} aria-controls={open ? id : undefined} aria-label={label} title={label} disabled={disabled}
        onClick={() => setOpen(!open)} onKeyDown={(e) => { if (e.key === "ArrowDown" && !open) { e.preventDefault(); e.stopPropagation(); setOpen(true); } }}
      >{button}</button>
      {open && (
        <div class={`menu-list ${align}${up ? " up" : ""}`} role="menu" id={id} aria-label={label}>
          {items().map((item, i) => (
            <button
              key={i} type="button" role={item.checked === undefined ? "menuitem" : "menuitemradio"} aria-checked={item.checked} class={item.danger ? "danger" : ""} disabled={item.disabled} tabIndex={-1}
              onClick={() => { close(); item.run(); }}
            >
              {item.icon && <Icon name={item.icon} />}
              <span class="menu-text"><span>{item.label}</span>{item.hint && <span class="hint">{item.hint}</span>}</span>
              {item.checked && <Icon name="check" />}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

/** What is told in passing, at the edge of the page. */
export function Toasts() {
  return (
    <div class="toasts" role="region" aria-label="Notices" aria-live="polite">
      {toasts.value.map((t) => (
        <div key={t.id} class={`toast ${t.kind}`} role={t.kind === "error" ? "alert" : undefined}>
          <Icon name={t.kind === "error" ? "warning" : "info"} />
          <span>{t.text}</span>
          {t.action && <Button small kind="quiet" onClick={() => { dismiss(t.id); t.action!.run(); }}>{t.action.label}</Button>}
          <IconButton icon="close" label="Dismiss" size={15} onClick={() => dismiss(t.id)} />
        </div>
      ))}
    </div>
  );
}
