// The playground: the page at /.
import { effect } from "@preact/signals";
import { render } from "preact";
import { save } from "./db";
import "./ui/tokens.css";
import "./ui/base.css";
import "./shell.css";
import { Shell } from "./shell";
import { connect, restore, tab, tabs, theme, toast } from "./store";
import { apply, fromFragment } from "./take/share";

/** Takes the tab out of the address, or what was shared. */
function route(): void {
  if (location.hash.startsWith("#s=")) {
    const fragment = location.hash;
    history.replaceState(null, "", `#/${tab.value}`);
    fromFragment(fragment).then((s) => s && apply(s), () => toast("This link is broken, and nothing of it is used.", "error"));
    return;
  }
  const name = location.hash.replace(/^#\/?/, "");
  const found = tabs.find((t) => t === name);
  if (found) tab.value = found;
}

await restore();
route();
addEventListener("hashchange", route);
effect(() => {
  const hash = `#/${tab.value}`;
  if (location.hash !== hash) history.replaceState(null, "", hash);
});
effect(() => {
  save("theme", theme.value === "system" ? null : theme.value);
  if (theme.value === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme.value;
});
render(<Shell />, document.getElementById("app")!);
await connect();
