// The tab "Compare".
import { Empty } from "../ui/controls";

/** The tab. */
export function Compare() {
  return <Empty icon="compare" title="One prompt at several levels" />;
}
