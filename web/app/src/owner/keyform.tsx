// The form for a new key.
import { useId, useState } from "preact/hooks";
import { ApiError } from "../api";
import { Button, Chip, Field, Switch } from "../ui/controls";
import { Icon } from "../ui/icons";
import { Dialog } from "../ui/overlay";
import { createKey, type Key } from "./admin";
import { limits, readForm, untyped, words, type Limit, type Typed } from "./form";
import { tiers } from "./state";

let kept: Typed | null = null;

export function KeyForm({ first, onClose, onMade }: { first: boolean; onClose: () => void; onMade: (key: Key & { secret: string }) => void }) {
  const [typed, setTyped] = useState<Typed>(() => kept ?? untyped(first));
  const [tried, setTried] = useState(false);
  const [failed, setFailed] = useState<ApiError | null>(null);
  const [busy, setBusy] = useState(false);
  const form = useId();
  const set = (change: Partial<Typed>) => {
    kept = { ...typed, ...change };
    setTyped(kept);
    setFailed(null);
  };
  const { request, problems } = readForm(typed);
  const problem = (field: keyof Typed | Limit) => (tried && problems[field] ? <span class="problem" role="alert">{problems[field]}</span> : null);
  const submit = async (e: Event) => {
    e.preventDefault();
    setTried(true);
    if (Object.keys(problems).length > 0 || busy) return;
    setBusy(true);
    try {
      const key = await createKey(request);
      kept = null;
      onMade(key);
    } catch (error) {
      setFailed(error instanceof ApiError ? error : new ApiError(String(error), 0));
    } finally {
      setBusy(false);
    }
  };
  const chosen = words(typed.models);
  const toggle = (id: string) => set({ models: (chosen.includes(id) ? chosen.filter((m) => m !== id) : [...chosen, id]).join(" ") });
  return (
    <Dialog title="New key" wide onClose={onClose} footer={<>
      <Button onClick={onClose}>Cancel</Button>
      <Button kind="primary" type="submit" form={form} disabled={busy}>{busy ? "Making it …" : "Make the key"}</Button>
    </>}>
      <form id={form} class="stack" onSubmit={(e) => void submit(e)} noValidate>
        <Field label="Name" hint={problem("name")}>
          <input type="text" value={typed.name} onInput={(e) => set({ name: e.currentTarget.value })} placeholder="whom it is for" maxLength={200} autocomplete="off" autofocus aria-invalid={tried && problems.name ? "true" : undefined} />
        </Field>
        <Switch label="Administers the server" checked={typed.admin} onChange={(admin) => set({ admin })} hint="It opens this page and all under /admin." />
        {first && !typed.admin && <p class="owner-note"><Icon name="warning" size={16} /><span>From the first key on, every request needs one. Without an administrator's, this page stays closed until one is made with <code>aim keys create --admin</code>.</span></p>}
        <div class="field">
          <Field label="Tiers" hint="Names, or patterns such as smollm2-*. Nothing is all.">
            <input type="text" class="mono" value={typed.models} onInput={(e) => set({ models: e.currentTarget.value })} placeholder="all" autocomplete="off" spellcheck={false} />
          </Field>
          <span class="grants">{(tiers.data.value ?? []).map((t) => <Chip key={t.id} pressed={chosen.includes(t.id)} onClick={() => toggle(t.id)}>{t.id}</Chip>)}</span>
        </div>
        <fieldset class="numbers">
          <legend>Limits</legend>
          {limits.map(([field, label, none]) => (
            <Field key={field} label={label} hint={problem(field)}>
              <input type="text" inputMode="numeric" value={typed.numbers[field]} placeholder={none} autocomplete="off" aria-invalid={tried && problems[field] ? "true" : undefined}
                onInput={(e) => set({ numbers: { ...typed.numbers, [field]: e.currentTarget.value } })} />
            </Field>
          ))}
        </fieldset>
        <fieldset class="numbers">
          <legend>Modulation and validity</legend>
          <Field label="Most focus, 0 to 1" hint={problem("maxFocus")}>
            <input type="text" inputMode="decimal" value={typed.maxFocus} placeholder="the tier's" autocomplete="off" onInput={(e) => set({ maxFocus: e.currentTarget.value })} aria-invalid={tried && problems.maxFocus ? "true" : undefined} />
          </Field>
          <Field label="Expires">
            <select value={typed.days} onChange={(e) => set({ days: e.currentTarget.value })}>
              <option value="">never</option><option value="1">in a day</option><option value="7">in a week</option><option value="30">in 30 days</option><option value="90">in 90 days</option><option value="365">in a year</option>
            </select>
          </Field>
          <Field label="Networks">
            <input type="text" class="mono" value={typed.networks} onInput={(e) => set({ networks: e.currentTarget.value })} placeholder="all, or 10.0.0.0/8" autocomplete="off" spellcheck={false} />
          </Field>
        </fieldset>
        <Switch label="May lower utility" checked={typed.lowerUtility} onChange={(lowerUtility) => set({ lowerUtility })} hint="Requests may ask for less quality than their tier imposes, never for more." />
        {failed && <p class="owner-failure" role="alert"><Icon name="warning" size={16} /><span>No key was made: {failed.message}</span></p>}
      </form>
    </Dialog>
  );
}
