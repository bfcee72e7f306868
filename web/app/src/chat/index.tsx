// The tab Chat.
import { Empty } from "../ui/controls";

/** The conversations. */
export function Sidebar(_: { onPick: () => void }) {
  return null;
}

/** The tab. */
export function Chat() {
  return <Empty icon="chat" title="Chat" />;
}
