// API keys: making, looking, revoking.
import { useState } from "preact/hooks";
import { apiKey, connect, toast } from "../store";
import { Button, Chip, CopyButton, Spinner, Switch } from "../ui/controls";
import { Icon } from "../ui/icons";
import { Confirm, Dialog } from "../ui/overlay";
import { revokeKey, type Grant, type Key } from "./admin";
import { day, whole } from "./format";
import { Failure, Section } from "./index";
import { KeyForm } from "./keyform";
import { keys, made } from "./state";

type State = "active" | "expired" | "revoked";

export function Keys() {
  const [making, setMaking] = useState(false);
  const [revoking, setRevoking] = useState<Key | null>(null);
  const [past, setPast] = useState(false);
  const all = keys.data.value;
  const list = (all ?? []).filter((k) => past || stateOf(k) === "active").sort((a, b) => b.created.localeCompare(a.created));
  const over = (all ?? []).filter((k) => stateOf(k) !== "active").length;
  const revoke = async (k: Key) => {
    try {
      await revokeKey(k.id);
      toast(`${k.name} is revoked.`);
    } catch (e) {
      toast(`${k.name} is not revoked: ${e instanceof Error ? e.message : String(e)}`, "error");
    }
    await keys.load();
  };
  return (
    <Section title="Keys" beside={<div class="choices">
      {over > 0 && <Switch label={`Expired and revoked (${over})`} checked={past} onChange={setPast} />}
      <Button kind="primary" small icon="plus" onClick={() => setMaking(true)}>New key</Button>
    </div>}>
      <Failure of={keys} what="The keys" />
      {all === null ? !keys.error.value && <Spinner label="Asking for the keys" />
        : all.length === 0 ? <p class="muted">There is no key, so the server answers this machine only, and whoever asks is its owner. The first key changes that.</p>
        : list.length === 0 ? <p class="muted">No key is active: nobody can use the server but by a new one.</p>
        : (
          <div class="table" role="region" aria-label="API keys" tabIndex={0}>
            <table>
              <thead><tr><th>Name</th><th>Begins with</th><th>May</th><th>Made</th><th>Expires</th><th><span class="offscreen">Action</span></th></tr></thead>
              <tbody>{list.map((k) => <Row key={k.id} of={k} onRevoke={() => setRevoking(k)} />)}</tbody>
            </table>
          </div>
        )}
      {making && <KeyForm first={all?.length === 0} onClose={() => setMaking(false)} onMade={(k) => { setMaking(false); made.value = k; }} />}
      {revoking && (
        <Confirm title={`Revoke ${revoking.name}?`} action="Revoke" onClose={() => setRevoking(null)} onDo={() => void revoke(revoking)}
          text={`Requests with ${revoking.prefix}… fail from now on. This cannot be undone.${isOwn(revoking) ? " It is the key that this page uses." : ""}`} />
      )}
    </Section>
  );
}

function Row({ of: k, onRevoke }: { of: Key; onRevoke: () => void }) {
  const state = stateOf(k);
  return (
    <tr>
      <th scope="row">{k.name}{isOwn(k) && <span class="muted"> (this page)</span>}</th>
      <td class="nowrap"><code>{k.prefix}…</code></td>
      <td><span class="grants">{granted(k.grant).map((g) => <Chip key={g.text} {...(g.tone ? { tone: g.tone } : {})}>{g.text}</Chip>)}</span></td>
      <td class="nowrap">{day(k.created)}</td>
      <td class="nowrap">{state === "revoked" ? <span class="state bad">revoked {day(k.revoked!)}</span> : k.expires ? <span class={state === "expired" ? "state bad" : ""}>{day(k.expires)}</span> : <span class="muted">never</span>}</td>
      <td class="right">{state === "active" && <Button small onClick={onRevoke} aria-label={`Revoke ${k.name}`}>Revoke</Button>}</td>
    </tr>
  );
}

/** Shows the secret of the new key, once. Closing asks back until it was copied. */
export function Secret({ of: k }: { of: Key & { secret: string } }) {
  const first = apiKey.value === "" && !keys.data.value?.length;
  const onClose = () => {
    made.value = null;
    void keys.load();
  };
  const [warned, setWarned] = useState(false);
  const [taken, setTaken] = useState(false);
  const close = () => (taken || warned ? onClose() : setWarned(true));
  const use = () => {
    made.value = null;
    apiKey.value = k.secret;
    void connect();
  };
  return (
    <Dialog title={`The key of ${k.name}`} onClose={close} footer={<>
      {k.grant.admin && <Button onClick={use}>Use it in this page</Button>}
      <Button kind="primary" onClick={close}>{warned && !taken ? "Close without a copy" : "Done"}</Button>
    </>}>
      <p>It is shown now and never again: the server keeps its checksum only.</p>
      <div class="secret">
        <input class="mono" type="text" readOnly value={k.secret} aria-label="Secret" spellcheck={false} onFocus={(e) => e.currentTarget.select()} onCopy={() => setTaken(true)} />
        <span onClick={() => setTaken(true)}><CopyButton text={() => k.secret} label="Copy the key" /></span>
      </div>
      {first && <p class="owner-note"><Icon name="info" size={16} /><span>From this key on, every request needs one.{k.grant.admin ? "" : " It may not administer the server: make one that may with aim keys create --admin."}</span></p>}
      {warned && !taken && <p class="problem" role="alert">The key was not copied yet. Without a copy it is lost, and you would have to make another.</p>}
    </Dialog>
  );
}

function stateOf(k: Key): State {
  if (k.revoked) return "revoked";
  return k.expires && Date.parse(k.expires) <= Date.now() ? "expired" : "active";
}

function isOwn(k: Key): boolean {
  return apiKey.value !== "" && apiKey.value.startsWith(k.prefix);
}

/** A grant in a few words each. */
function granted(g: Grant): { text: string; tone?: "accent" }[] {
  const list: { text: string; tone?: "accent" }[] = [];
  if (g.admin) list.push({ text: "administers", tone: "accent" });
  for (const m of g.models ?? []) list.push({ text: m });
  if (!g.models?.length) list.push({ text: "all tiers" });
  if (g.lower_utility) list.push({ text: "lower utility" });
  if (g.max_focus !== undefined) list.push({ text: g.max_focus === 0 ? "no focus" : `focus to ${g.max_focus}` });
  const limits: [number | undefined, string][] = [
    [g.requests_per_minute, "requests/min"], [g.tokens_per_minute, "tokens/min"], [g.concurrency, "at once"], [g.tokens_per_day, "tokens/day"], [g.tokens_per_month, "tokens/month"],
  ];
  for (const [n, unit] of limits) if (n) list.push({ text: `${whole(n)} ${unit}` });
  if (g.priority && g.priority !== 1) list.push({ text: `priority ${g.priority}` });
  for (const n of g.networks ?? []) list.push({ text: n });
  return list;
}
