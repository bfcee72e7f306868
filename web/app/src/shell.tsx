// The frame of the page: the header, the notices, and the tab that is shown with the settings beside it.
import { Component, type ComponentChildren, type ComponentType } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { Chat, Sidebar } from "./chat/index";
import { beginTour } from "./chat/tour";
import { Compare } from "./compare/index";
import { load, save } from "./db";
import { Focus } from "./focus/index";
import { Inspect } from "./inspect/index";
import { Owner } from "./owner/index";
import { Settings } from "./settings";
import { handleKey, Help, register } from "./shortcuts";
import { CodeDialog, codeDialog, takeItems, TakeMenu } from "./take/index";
import { apiKey, connect, connecting, draft, keyDialog, model, models, rememberKey, startConversation, tab, tabs, theme, trouble, type Tab, type Theme } from "./store";
import { Button, Empty, Field, IconButton, Spinner, Switch } from "./ui/controls";
import { Icon, type IconName } from "./ui/icons";
import { Dialog, Menu, Toasts } from "./ui/overlay";
import { Tabs } from "./ui/tabs";

const about: Record<Tab, { label: string; icon: IconName; view: ComponentType }> = {
  chat: { label: "Chat", icon: "chat", view: Chat },
  compare: { label: "Compare", icon: "compare", view: Compare },
  focus: { label: "Focus", icon: "focus", view: Focus },
  inspect: { label: "Inspect", icon: "inspect", view: Inspect },
  owner: { label: "Owner", icon: "owner", view: Owner },
};

/** Whether a media query holds, now and later. */
function useMedia(query: string): boolean {
  const [holds, setHolds] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const list = matchMedia(query);
    const change = () => setHolds(list.matches);
    change();
    list.addEventListener("change", change);
    return () => list.removeEventListener("change", change);
  }, [query]);
  return holds;
}

export function Shell() {
  const narrow = useMedia("(max-width: 860px)");
  const medium = useMedia("(max-width: 1180px)");
  const sideShown = useSignal(load("side") !== "off");
  const settingsShown = useSignal(load("settings-side") !== "off");
  const drawer = useSignal<"side" | "settings" | null>(null);
  const dialog = useSignal<"help" | null>(null);
  const current = tab.value;
  const hasSettings = current !== "owner", hasSide = current === "chat";
  const keyLabel = apiKey.value ? "API key (set)" : "API key";
  const openKey = () => void (keyDialog.value = true);
  const View = about[current].view;

  const toggleSide = () => {
    if (narrow) drawer.value = drawer.value === "side" ? null : "side";
    else save("side", (sideShown.value = !sideShown.value) ? null : "off");
  };
  const toggleSettings = () => {
    if (medium) drawer.value = drawer.value === "settings" ? null : "settings";
    else save("settings-side", (settingsShown.value = !settingsShown.value) ? null : "off");
  };
  useEffect(() => register("Page", [
    ...tabs.map((t, i) => ({ keys: `Alt+${i + 1}`, text: about[t].label, typing: true, run: () => void (tab.value = t) })),
    { keys: "Mod+,", text: "Settings", typing: true, run: toggleSettings },
    { keys: "Mod+b", text: "Conversations", typing: true, run: toggleSide },
    { keys: "Alt+k", text: "The request as code", typing: true, run: () => void (codeDialog.value = true) },
    { keys: "?", text: "This help", run: () => void (dialog.value = "help") },
  ]));
  useEffect(() => {
    document.addEventListener("keydown", handleKey);
    return () => document.removeEventListener("keydown", handleKey);
  }, []);
  const unauthorized = trouble.value?.status === 401;
  useEffect(() => {
    if (unauthorized) keyDialog.value = true;
  }, [unauthorized]);

  return (
    <div class="shell">
      <header class="top">
        <div class="brand">
          {hasSide && <IconButton icon={narrow ? "menu" : "sidebar"} label="Conversations" aria-expanded={narrow ? drawer.value === "side" : sideShown.value} onClick={toggleSide} />}
          <Logo /><h1>Aim</h1>
        </div>
        <Tabs
          label="Views" value={current} onChange={(t) => (tab.value = t)}
          entries={tabs.map((t) => ({ value: t, label: <><Icon name={about[t].icon} size={17} /><span>{about[t].label}</span></> }))}
        />
        <div class="top-end">
          <ModelMenu />
          {!narrow && <>
            <IconButton icon="key" label={keyLabel} class={apiKey.value ? "lit" : ""} onClick={openKey} />
            <ThemeMenu />
            <IconButton icon="help" label="Help and keyboard" onClick={() => (dialog.value = "help")} />
            {hasSettings && <TakeMenu />}
          </>}
          {narrow && <Menu
            label="More" button={<Icon name="more" />}
            items={() => [
              { label: keyLabel, icon: "key", run: openKey },
              ...(hasSettings ? takeItems() : []),
              ...(Object.keys(themes) as Theme[]).map((t) => ({ label: `Theme: ${themes[t].label.toLowerCase()}`, icon: themes[t].icon, checked: theme.value === t, run: () => void (theme.value = t) })),
            ]}
          />}
          {hasSettings && <IconButton icon="sliders" label="Settings" aria-expanded={medium ? drawer.value === "settings" : settingsShown.value} onClick={toggleSettings} />}
        </div>
      </header>
      <Trouble />
      <div class="columns">
        {hasSide && !narrow && sideShown.value && <nav class="side" aria-label="Conversations"><Sidebar onPick={() => {}} /></nav>}
        <main><div class="panel" role="tabpanel" id={`panel-${current}`} aria-labelledby={`tab-${current}`}><Guard key={current}><View /></Guard></div></main>
        {hasSettings && !medium && settingsShown.value && <aside class="side right" aria-label="Settings"><Settings /></aside>}
      </div>
      {drawer.value === "side" && hasSide && <Dialog side="left" title="Conversations" onClose={() => (drawer.value = null)}><Sidebar onPick={() => (drawer.value = null)} /></Dialog>}
      {drawer.value === "settings" && hasSettings && <Dialog side="right" title="Settings" onClose={() => (drawer.value = null)}><div class="scroll"><Settings /></div></Dialog>}
      {dialog.value === "help" && <Help onClose={() => (dialog.value = null)} onTour={() => { beginTour(); startConversation(); tab.value = "chat"; }} />}
      {codeDialog.value && <CodeDialog onClose={() => (codeDialog.value = false)} />}
      {keyDialog.value && <KeyDialog onClose={() => (keyDialog.value = false)} />}
      <Toasts />
    </div>
  );
}

/** Shows that a view failed instead of nothing at all. */
class Guard extends Component<{ children: ComponentChildren }, { error: unknown }> {
  override state = { error: null as unknown };

  override componentDidCatch(error: unknown): void {
    console.error(error);
    this.setState({ error });
  }

  override render() {
    if (this.state.error === null) return this.props.children;
    return (
      <Empty icon="warning" title="This view failed">
        <p>{String(this.state.error)}</p>
        <Button icon="retry" onClick={() => this.setState({ error: null })}>Try again</Button>
      </Empty>
    );
  }
}

export function Logo() {
  return (
    <svg width="26" height="26" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="var(--accent)" />
      <path d="M6 21c3 0 3.6-10 6.6-10S16 25 19 25s3-14 7-14" fill="none" stroke="#fff" stroke-width="2.6" stroke-linecap="round" />
    </svg>
  );
}

function ModelMenu() {
  const m = model.value;
  const name = m?.id ?? (draft.model.value || "No model");
  const state = trouble.value ? (trouble.value.status === 503 ? "wait" : "bad") : connecting.value && models.value.length === 0 ? "wait" : "";
  return (
    <Menu
      class="model-menu" label={`Model: ${name}`} disabled={models.value.length === 0}
      button={<><i class={`dot ${state}`} /><span>{name}</span><Icon name="down" size={15} /></>}
      items={() => models.value.map((x) => ({
        label: x.id, checked: x.id === m?.id,
        hint: [x.description, x.meta?.n_params ? `${count(x.meta.n_params)} parameters` : "", x.max_model_len ? `${x.max_model_len.toLocaleString("en")} tokens of context` : ""].filter(Boolean).join(" · "),
        run: () => void (draft.model.value = x.id),
      }))}
    />
  );
}

function count(n: number): string {
  return n >= 1e9 ? `${(n / 1e9).toFixed(1)}B` : `${Math.round(n / 1e6)}M`;
}

const themes: Record<Theme, { label: string; icon: IconName }> = { system: { label: "As the system", icon: "system" }, light: { label: "Light", icon: "sun" }, dark: { label: "Dark", icon: "moon" } };

function ThemeMenu() {
  return (
    <Menu
      label="Theme" button={<Icon name={themes[theme.value].icon} />}
      items={() => (Object.keys(themes) as Theme[]).map((t) => ({ ...themes[t], checked: theme.value === t, run: () => void (theme.value = t) }))}
    />
  );
}

/** Says what is wrong with the server, and tries again by itself while it loads or is away. */
function Trouble() {
  const t = trouble.value;
  const again = t !== null && (t.status === 503 || t.status === 0);
  const tries = useRef(0);
  useEffect(() => {
    if (!again) {
      tries.current = 0;
      return undefined;
    }
    const timer = setTimeout(() => void connect(), 1000 * Math.max(t.retryAfter ?? 2, Math.min(++tries.current, 5)));
    return () => clearTimeout(timer);
  }, [t]);
  if (!t) return null;
  const text = t.status === 401 ? (apiKey.value ? "The server does not take this API key." : "This server wants an API key.")
    : t.status === 503 ? `The server is not ready: ${t.message}. Trying again …`
    : t.status === 0 ? "The server cannot be reached. What you typed stays here; trying again …" : t.message;
  return (
    <div class={`banner${t.status === 503 ? "" : " bad"}`} role="alert">
      <Icon name="warning" /><span>{text}</span><span class="spread" />
      {connecting.value && <Spinner label="Asking the server" />}
      {t.status === 401 ? <Button small onClick={() => (keyDialog.value = true)}>Enter a key</Button> : <Button small icon="retry" onClick={() => void connect()}>Try now</Button>}
    </div>
  );
}

function KeyDialog({ onClose }: { onClose: () => void }) {
  const [typed, setTyped] = useState(apiKey.value);
  const [remember, setRemember] = useState(rememberKey.value);
  const [visible, setVisible] = useState(false);
  const use = (key: string) => {
    rememberKey.value = remember;
    apiKey.value = key.trim();
    onClose();
    void connect();
  };
  return (
    <Dialog title="API key" onClose={onClose} footer={<>
      {apiKey.value && <Button onClick={() => use("")}>Forget it</Button>}
      <Button kind="primary" onClick={() => use(typed)}>Use it</Button>
    </>}>
      <form class="stack" onSubmit={(e) => { e.preventDefault(); use(typed); }}>
        <Field label="Key" hint="It is sent to this server only, in the header Authorization. Links and exports never contain it.">
          <span class="with-button">
            <input type={(visible ? "text" : "password") as "password"} value={typed} onInput={(e) => setTyped(e.currentTarget.value)} placeholder="aim-…" autocomplete="off" spellcheck={false} autofocus />
            <Button onClick={() => setVisible(!visible)} aria-pressed={visible}>{visible ? "Hide" : "Show"}</Button>
          </span>
        </Field>
        <Switch label="Remember it" checked={remember} onChange={setRemember} hint="Otherwise it is forgotten when this browser tab is closed." />
      </form>
    </Dialog>
  );
}
