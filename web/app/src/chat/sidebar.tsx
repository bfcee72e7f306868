// The conversations: kept in this browser only.
import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { conversation, conversations, deleteConversation, openConversation, startConversation, toast, updateConversation } from "../store";
import { exportAll, exportConversation, importFile } from "../take/export";
import { Button } from "../ui/controls";
import { Icon } from "../ui/icons";
import { Menu } from "../ui/overlay";
import { runs } from "./run";
import type { Conversation } from "./tree";

/** The conversations, the latest first. onPick is called when one is shown. */
export function Sidebar({ onPick }: { onPick: () => void }) {
  const search = useSignal("");
  const renaming = useSignal<string | null>(null);
  const file = useRef<HTMLInputElement>(null);
  const list = conversations.value;
  const needle = search.value.trim().toLowerCase();
  const found = needle === "" ? list : list.filter((c) => c.title.toLowerCase().includes(needle) || Object.values(c.nodes).some((n) => n.content.toLowerCase().includes(needle)));
  const busy = new Set([...runs.value.values()].map((r) => r.conversation));
  return (
    <div class="sidebar">
      <div class="sidebar-head">
        <Button icon="plus" class="new" onClick={() => { startConversation(); onPick(); }}>New conversation</Button>
        <Menu
          label="All conversations" button={<Icon name="more" />}
          items={() => [
            { label: "Import …", icon: "upload", run: () => file.current?.click() },
            { label: "Export all", icon: "download", disabled: list.length === 0, run: () => exportAll(list) },
          ]}
        />
        <input
          ref={file} type="file" accept="application/json,.json" class="offscreen" tabIndex={-1} aria-hidden="true"
          onChange={(e) => {
            const picked = e.currentTarget.files?.[0];
            e.currentTarget.value = "";
            if (picked) void importFile(picked);
          }}
        />
      </div>
      {list.length > 5 && <input type="search" class="search" placeholder="Search" aria-label="Search conversations" value={search.value} onInput={(e) => (search.value = e.currentTarget.value)} />}
      {list.length === 0 && <p class="hint pad">Conversations are kept in this browser, and nowhere else.</p>}
      {list.length > 0 && found.length === 0 && <p class="hint pad">Nothing found.</p>}
      <ul class="conversations">
        {found.map((c) => (
          <li key={c.id} class={c.id === conversation.value.id ? "current" : ""}>
            {renaming.value === c.id ? <Rename c={c} onDone={() => (renaming.value = null)} /> : (
              <>
                <button type="button" class="conversation" aria-current={c.id === conversation.value.id ? "true" : undefined} onClick={() => { openConversation(c.id); onPick(); }} onDblClick={() => (renaming.value = c.id)}>
                  {c.title || "Untitled"}
                </button>
                {busy.has(c.id) && <i class="dot wait" title="An answer is being written" />}
                <Entry c={c} onRename={() => (renaming.value = c.id)} />
              </>
            )}
          </li>
        ))}
      </ul>
    </div>
  );
}

function Entry({ c, onRename }: { c: Conversation; onRename: () => void }) {
  return (
    <Menu
      label={`More on ${c.title || "Untitled"}`} button={<Icon name="more" />}
      items={() => [
        { label: "Rename", icon: "edit", run: onRename },
        { label: "Export as Markdown", icon: "download", run: () => exportConversation(c, "md") },
        { label: "Export as JSON", icon: "download", run: () => exportConversation(c, "json") },
        {
          label: "Delete", icon: "trash", danger: true,
          run: () => {
            for (const r of runs.value.values()) if (r.conversation === c.id) r.stop();
            const undo = deleteConversation(c.id);
            toast(`“${c.title || "Untitled"}” is deleted.`, "info", { label: "Undo", run: undo });
          },
        },
      ]}
    />
  );
}

function Rename({ c, onDone }: { c: Conversation; onDone: () => void }) {
  const cancelled = useRef(false);
  return (
    <input
      type="text" class="rename" defaultValue={c.title} aria-label="Name of the conversation" autofocus
      ref={(e) => { if (e && document.activeElement !== e) { e.focus(); e.select(); } }}
      onKeyDown={(e) => {
        if (e.key === "Escape") {
          cancelled.current = true;
          e.stopPropagation();
          onDone();
        } else if (e.key === "Enter") e.currentTarget.blur();
      }}
      onBlur={(e) => {
        const title = e.currentTarget.value.trim();
        if (!cancelled.current && title) updateConversation(c.id, (x) => ({ ...x, title, named: true }));
        onDone();
      }}
    />
  );
}

