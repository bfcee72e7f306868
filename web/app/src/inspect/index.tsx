// The tab "Inspect".
import { Empty } from "../ui/controls";

/** The tab. */
export function Inspect() {
  return <Empty icon="inspect" title="Every token, before and after" />;
}
