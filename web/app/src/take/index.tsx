// Take it away: the request as code, a link, and files.
import { useState } from "preact/hooks";
import { signal } from "@preact/signals";
import { apiKey, conversation, toast } from "../store";
import { CopyButton, copyText, Segments } from "../ui/controls";
import { Icon } from "../ui/icons";
import { Dialog, Menu, type MenuItem } from "../ui/overlay";
import { asked, toCode, type Language } from "./code";
import { exportConversation } from "./export";
import { shareLink } from "./share";

/** Whether the dialog with the code is open. */
export const codeDialog = signal(false);

const languages: { value: Language; label: string }[] = [{ value: "curl", label: "curl" }, { value: "python", label: "Python" }, { value: "javascript", label: "JavaScript" }];

const here = () => ({ origin: location.origin, key: apiKey.value !== "" });

/** Copies a link to what is on screen. */
export async function copyLink(): Promise<void> {
  const link = await shareLink();
  if (await copyText(link)) toast("A link with these settings and the prompt is copied. The key is not in it.");
  else location.hash = new URL(link).hash;
}

async function copyCode(language: Language): Promise<void> {
  const label = languages.find((l) => l.value === language)!.label;
  if (await copyText(toCode(language, asked(), here()))) toast(`Copied as ${label}.`);
  else codeDialog.value = true;
}

/** What can be taken away. */
export function takeItems(): MenuItem[] {
  const c = conversation.value;
  const none = Object.keys(c.nodes).length === 0;
  return [
    ...languages.map((l) => ({ label: `Copy as ${l.label}`, icon: "copy" as const, run: () => void copyCode(l.value) })),
    { label: "Show the code", icon: "code", run: () => void (codeDialog.value = true) },
    { label: "Copy a link", hint: "Settings and prompt, without the key", icon: "share", run: () => void copyLink() },
    { label: "Export as Markdown", icon: "download", disabled: none, run: () => exportConversation(c, "md") },
    { label: "Export as JSON", icon: "download", disabled: none, run: () => exportConversation(c, "json") },
  ];
}

export function TakeMenu() {
  return <Menu label="Take it away" button={<Icon name="share" />} items={takeItems} />;
}

/** The request on screen as code. */
export function CodeDialog({ onClose }: { onClose: () => void }) {
  const [language, setLanguage] = useState<Language>("curl");
  const text = toCode(language, asked(), here());
  return (
    <Dialog title="This request as code" wide onClose={onClose}>
      <div class="row">
        <Segments label="Language" options={languages} value={language} onChange={setLanguage} />
        <span class="spread" />
        <CopyButton text={() => text} />
      </div>
      <pre class="listing" tabIndex={0}><code>{text}</code></pre>
      {apiKey.value && <p class="hint">The key is not written out: set it as <code>AIM_API_KEY</code>.</p>}
    </Dialog>
  );
}
