// The playground: the page at /.
import { effect } from "@preact/signals";
import { render } from "preact";
import "./ui/tokens.css";
import "./ui/base.css";
import "./shell.css";
import { Shell } from "./shell";
import { connect, restore, tab, tabs } from "./store";

/** Takes the tab out of the address, where it is one. */
function route(): void {
  const name = location.hash.replace(/^#\/?/, "");
  const found = tabs.find((t) => t === name);
  if (found) tab.value = found;
}

route();
addEventListener("hashchange", route);
effect(() => {
  const hash = `#/${tab.value}`;
  if (location.hash !== hash) history.replaceState(null, "", hash);
});
await restore();
render(<Shell />, document.getElementById("app")!);
await connect();
