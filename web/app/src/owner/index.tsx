// The tab "Owner".
import { Empty } from "../ui/controls";

/** The tab. */
export function Owner() {
  return <Empty icon="owner" title="What the server does" />;
}
