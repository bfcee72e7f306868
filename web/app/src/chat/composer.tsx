// Where the next message is typed.
import { useEffect, useRef } from "preact/hooks";
import { register } from "../shortcuts";
import { conversation, draft, model } from "../store";
import { Growing, IconButton } from "../ui/controls";
import { runOf, sendPrompt, retry, settingsInWords } from "./run";
import { edit } from "./message";
import { path } from "./tree";
import { aimOf, startConversation } from "../store";

export function Composer() {
  const field = useRef<HTMLTextAreaElement | null>(null);
  const c = conversation.value;
  const run = runOf(c.id);
  const text = draft.prompt.value;
  const words = settingsInWords({ params: draft.params.value, aim: aimOf() ?? {}, system: "" });
  const nodes = () => path(conversation.value);
  const editLast = () => {
    const last = nodes().findLast((n) => n.role === "user");
    if (last) edit(last.id, last.content);
    return last !== undefined;
  };
  useEffect(() => register("Chat", [
    { keys: "Enter", text: "Send (Shift+Enter for a new line)" },
    { keys: "Mod+Enter", text: "Send", typing: true, run: sendPrompt },
    { keys: "Escape", text: "Stop the answer", typing: true, run: () => { const r = runOf(conversation.value.id); r?.stop(); return r !== undefined; } },
    { keys: "Alt+r", text: "Answer again", typing: true, run: () => { const last = nodes().findLast((n) => n.role === "assistant"); if (last) retry(conversation.value.id, last.id); } },
    { keys: "Alt+e", text: "Edit the last message", typing: true, run: () => void editLast() },
    { keys: "Alt+n", text: "New conversation", typing: true, run: () => { startConversation(); field.current?.focus(); } },
    { keys: "/", text: "Type a message", run: () => field.current?.focus() },
  ]));
  useEffect(() => {
    // Who goes from tab to tab by the arrows stays there.
    if (matchMedia("(hover: hover)").matches && !document.activeElement?.matches("[role=tab]:focus-visible")) field.current?.focus();
  }, [c.id]);
  return (
    <form class="composer" onSubmit={(e) => { e.preventDefault(); sendPrompt(); }}>
      <div class="composer-box" onPointerDown={(e) => { if (e.target === e.currentTarget) { e.preventDefault(); field.current?.focus(); } }}>
        <Growing
          value={text} onInput={(t) => (draft.prompt.value = t)} inputRef={(e) => (field.current = e)} aria-label="Message"
          placeholder={model.value ? `Message ${model.value.id}` : "Message"}
          onKeyDown={(e) => {
            if (e.key === "Enter" && !e.shiftKey && !e.altKey && !e.ctrlKey && !e.metaKey && !e.isComposing && !matchMedia("(hover: none)").matches) {
              e.preventDefault();
              sendPrompt();
            } else if (e.key === "ArrowUp" && text === "" && editLast()) e.preventDefault();
          }}
        />
        {/* The keys keep a click on Stop from submitting with the button that takes its place. */}
        {run ? <IconButton key="stop" class="send" icon="stop" label="Stop" onClick={() => run.stop()} /> : <IconButton key="send" class="send" icon="send" label="Send" type="submit" disabled={!text.trim()} />}
      </div>
      <p class="composer-note">
        {words.length > 0 ? <><span class="offscreen">Will be asked for with </span>{words.map((w) => <span key={w} class="setting-tag">{w}</span>)}</> : <span>As the model is: no utility noise, no focus.</span>}
      </p>
    </form>
  );
}
