// Conversations as files, and from files.
import { parseConversation, path, type Conversation } from "../chat/tree";
import { takeConversation, toast } from "../store";

/** A conversation as it is shown, as Markdown. */
export function toMarkdown(c: Conversation): string {
  const parts = [`# ${c.title || "Conversation"}`];
  if (c.system.trim()) parts.push(`**System:** ${c.system.trim()}`);
  for (const n of path(c)) {
    const settings = n.asked && (n.asked.aim.utility || n.asked.aim.focus || Object.keys(n.asked.params).length > 0) ? ` ${JSON.stringify({ ...n.asked.params, ...(Object.keys(n.asked.aim).length > 0 ? { aim: n.asked.aim } : {}) })}` : "";
    parts.push(n.role === "user" ? "## You" : `## ${n.model ?? "Answer"}`);
    if (settings) parts.push("`" + settings.trim() + "`");
    parts.push(n.content.trim() || "(nothing)");
  }
  return parts.join("\n\n") + "\n";
}

const format = "aim-conversations";

/** Conversations as JSON, with all their branches; importFile reads it. */
export function toJSON(list: readonly Conversation[]): string {
  return JSON.stringify({ format, version: 1, conversations: list }, null, 2) + "\n";
}

/** Reads conversations of what toJSON wrote, or fails with a message that says what is wrong. */
export function fromJSON(text: string): Conversation[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error("this is no JSON");
  }
  const list = (value as { conversations?: unknown } | null)?.conversations;
  if (!Array.isArray(list)) throw new Error("this is no export of conversations");
  return list.map(parseConversation);
}

/** Offers a text as a file to keep. */
export function download(name: string, kind: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: kind }));
  const a = document.createElement("a");
  a.href = url;
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function fileName(title: string): string {
  return title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 48) || "conversation";
}

export function exportConversation(c: Conversation, as: "md" | "json"): void {
  if (as === "md") download(`${fileName(c.title)}.md`, "text/markdown", toMarkdown(c));
  else download(`${fileName(c.title)}.json`, "application/json", toJSON([c]));
}

export function exportAll(list: readonly Conversation[]): void {
  download("aim-conversations.json", "application/json", toJSON(list));
}

/** Takes in the conversations of a file. */
export async function importFile(file: File): Promise<void> {
  try {
    const list = fromJSON(await file.text());
    for (const c of list.reverse()) takeConversation(c);
    toast(`${list.length} ${list.length === 1 ? "conversation is" : "conversations are"} imported.`);
  } catch (error) {
    toast(`${file.name} cannot be imported: ${error instanceof Error ? error.message : String(error)}.`, "error");
  }
}

