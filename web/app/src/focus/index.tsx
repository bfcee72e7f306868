// The tab "Focus".
import { Empty } from "../ui/controls";

/** The tab. */
export function Focus() {
  return <Empty icon="focus" title="What the answer attends to" />;
}
