// The tab "Owner": what the server does, for its administrators.
import type { ComponentChildren } from "preact";
import { useEffect, useId } from "preact/hooks";
import { apiKey, keyDialog, models } from "../store";
import { Button, Empty, Spinner } from "../ui/controls";
import { Icon } from "../ui/icons";
import type { Resource } from "./resource";
import { Keys, Secret } from "./keys";
import { LiveSection } from "./live";
import "./owner.css";
import { curves, keys, made, refused, tiers } from "./state";
import { Tiers } from "./tiers";
import { UsageSection } from "./usage";

/** The tab. A new key's secret stays on screen whatever happens to the rest. */
export function Owner() {
  return <><Page />{made.value && <Secret of={made.value} />}</>;
}

function Page() {
  const { value: list } = tiers.data, { value: error } = tiers.error;
  // What is served may change: models.value is new whenever the server was asked again.
  useEffect(() => void tiers.load(), [apiKey.value, models.value]);
  useEffect(() => void (list && curves.load()), [list]);
  useEffect(() => void (list && keys.load()), [list === null]);
  if (error && refused(error)) return <Refused unknown={error.status === 401} />;
  if (!list) {
    return error ? (
      <Empty icon="warning" title="The server does not tell">
        <p>{error.message}</p>
        <Button icon="retry" onClick={() => void tiers.load()}>Try again</Button>
      </Empty>
    ) : <div class="empty"><Spinner label="Asking the server" /></div>;
  }
  return (
    <div class="owner">
      <LiveSection />
      <Tiers />
      <UsageSection />
      <Keys />
    </div>
  );
}

function Refused({ unknown }: { unknown: boolean }) {
  return (
    <Empty icon="key" title="This page needs an administrator's key">
      <p>{unknown ? "The server takes no request without a key that it knows." : "The key that is set may use the models, and not administer the server."}</p>
      <p>Whoever runs the server makes one:</p>
      <p><code>aim keys create --name me --admin</code></p>
      <Button kind="primary" icon="key" onClick={() => (keyDialog.value = true)}>Enter a key</Button>
    </Empty>
  );
}

/** A part of the page, with its heading and what stands beside it. */
export function Section({ title, hint, beside, children }: { title: string; hint?: ComponentChildren; beside?: ComponentChildren; children: ComponentChildren }) {
  const id = useId();
  return (
    <section class="owner-section" aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        {hint && <p class="hint">{hint}</p>}
        <span class="spread" />
        {beside}
      </header>
      {children}
    </section>
  );
}

/** Says what failed when something was asked for, and asks again. */
export function Failure({ of, what }: { of: Resource<unknown>; what: string }) {
  const error = of.error.value;
  if (!error) return null;
  return (
    <p class="owner-failure" role="alert">
      <Icon name="warning" size={16} /><span>{what} cannot be {of.data.value === null ? "shown" : "brought up to date"}: {error.message}</span>
      <Button small icon="retry" onClick={() => void of.load()}>Try again</Button>
    </p>
  );
}
