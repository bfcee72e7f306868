package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aim/internal/account"
	"aim/internal/testpostgres"
)

// clock is a clock that tests set.
type clock struct{ at atomic.Int64 }

func newClock(t time.Time) *clock {
	c := &clock{}
	c.set(t)
	return c
}
func (c *clock) set(t time.Time) { c.at.Store(t.UnixMicro()) }
func (c *clock) now() time.Time  { return time.UnixMicro(c.at.Load()) }

func create(t *testing.T, l *Ledger, name string) (account.Key, string) {
	t.Helper()
	key, secret, err := l.CreateKey(t.Context(), name, time.Time{}, account.Grant{})
	if err != nil {
		t.Fatal(err)
	}
	return key, secret
}

// refused checks that no active key has a secret.
func refused(t *testing.T, l *Ledger, secret string) {
	t.Helper()
	if key, err := l.Find(t.Context(), secret); !errors.Is(err, account.ErrNoKey) {
		t.Errorf("key %+v, %v, want none", key, err)
	}
}

func TestKeyIsMadeFoundAndEnded(t *testing.T) {
	both(t, func(t *testing.T, dsn string) {
		clock := newClock(noon)
		l := open(t, dsn, Options{Now: clock.now})
		if any, err := l.HasKeys(t.Context()); any || err != nil {
			t.Errorf("has keys: %t, %v", any, err)
		}
		focus := 0.25
		grant := account.Grant{
			Admin: true, Models: []string{"a*", "b"}, RequestsPerMinute: 1, TokensPerMinute: 2, Concurrency: 3, TokensPerDay: 1 << 40, TokensPerMonth: 5,
			Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Priority: 7, LowerUtility: true, MaxFocus: &focus,
		}
		key, secret, err := l.CreateKey(t.Context(), "Ünal & Söhne", noon.Add(time.Hour), grant)
		if err != nil {
			t.Fatal(err)
		}
		if len(secret) != 47 || !strings.HasPrefix(secret, "aim-") || !strings.HasPrefix(secret, key.Prefix) || len(key.Prefix) != 12 {
			t.Errorf("secret %q of prefix %q", secret, key.Prefix)
		}
		found, err := l.Find(t.Context(), secret)
		if err != nil || !reflect.DeepEqual(found, key) || !reflect.DeepEqual(found.Grant, grant) {
			t.Errorf("found %+v, %v, want %+v", found, err, key)
		}
		if keys, err := l.Keys(t.Context()); err != nil || !reflect.DeepEqual(keys, []account.Key{key}) {
			t.Errorf("keys %+v, %v", keys, err)
		}
		for _, other := range []string{"", "aim-", secret + "0", secret[:46], strings.ToUpper(secret), "aim-" + strings.Repeat("0", 43), secret[:46] + "\x00"} {
			refused(t, l, other)
		}
		if err := l.SetGrant(t.Context(), key.ID, account.Grant{Priority: 2}); err != nil {
			t.Error(err)
		}
		if found, err := l.Find(t.Context(), secret); err != nil || found.Grant.Priority != 2 || found.Grant.Admin {
			t.Errorf("found %+v, %v", found, err)
		}
		if err := l.SetGrant(t.Context(), "key_none", account.Grant{}); !errors.Is(err, account.ErrNoKey) {
			t.Errorf("error %v", err)
		}
		clock.set(noon.Add(time.Hour))
		refused(t, l, secret)
		clock.set(noon)
		if _, err := l.Revoke(t.Context(), key.ID); err != nil {
			t.Error(err)
		}
		clock.set(noon.Add(-time.Hour)) // a clock that was set back does not bring it back
		refused(t, l, secret)
		clock.set(noon.Add(time.Minute))
		if again, err := l.Revoke(t.Context(), key.ID); err != nil || !again.Revoked.Equal(noon) {
			t.Errorf("revoked at %v, %v", again.Revoked, err)
		}
		if any, err := l.HasKeys(t.Context()); !any || err != nil {
			t.Errorf("has keys: %t, %v, also when the last is revoked", any, err)
		}
	})
}

func TestSecretsAreNotStored(t *testing.T) {
	dsn := filepath.Join(t.TempDir(), "aim.db")
	l := open(t, dsn, Options{})
	_, secret := create(t, l, "a")
	if err := l.db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(dsn)
	if err != nil || !bytes.Contains(content, []byte(secret[:shownLength])) || bytes.Contains(content, []byte(secret[shownLength:])) {
		t.Errorf("the file of %d bytes, %v, must hold the beginning of the secret and not its rest", len(content), err)
	}
}

func TestKeysThatCannotBe(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "aim.db"), Options{Now: newClock(noon).now})
	for want, try := range map[string]struct {
		name    string
		expires time.Time
		grant   account.Grant
	}{
		"name: ":          {name: ""},
		"100 bytes":       {name: strings.Repeat("a", 101)},
		"control":         {name: "a\nb"},
		"expires":         {name: "a", expires: noon},
		"priority":        {name: "a", grant: account.Grant{Priority: 101}},
		`models has "[a"`: {name: "a", grant: account.Grant{Models: []string{"[a"}}},
		"2026-11-27":      {name: "a", expires: noon.Add(-1)},
	} {
		if _, _, err := l.CreateKey(t.Context(), try.name, try.expires, try.grant); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one with %q", try, err, want)
		}
	}
	if keys, err := l.Keys(t.Context()); err != nil || len(keys) > 0 {
		t.Errorf("keys %v, %v", keys, err)
	}
}

func TestRevokeByWhatIsAtHand(t *testing.T) {
	both(t, func(t *testing.T, dsn string) {
		l := open(t, dsn, Options{Now: newClock(noon).now})
		a, aSecret := create(t, l, "a")
		b, bSecret := create(t, l, "b")
		c, cSecret := create(t, l, "c")
		ambiguous := &AmbiguousError{}
		for _, given := range []string{"aim-", "key_", "k"} {
			if _, err := l.Revoke(t.Context(), given); !errors.As(err, &ambiguous) || len(ambiguous.IDs) != 3 {
				t.Errorf("%q: %v, want three", given, err)
			}
		}
		unknown := "aim-" + strings.Repeat("0", 43)
		for _, given := range []string{"none", "%", "key_%", unknown, "KEY_"} {
			if _, err := l.Revoke(t.Context(), given); !errors.Is(err, account.ErrNoKey) || strings.Contains(err.Error(), unknown) {
				t.Errorf("%q: %v, want none", given, err)
			}
		}
		if _, err := l.Revoke(t.Context(), ""); err == nil {
			t.Error("nothing was taken for the beginning of all")
		}
		for given, want := range map[string]account.Key{a.ID: a, b.Prefix: b, cSecret: c} {
			if got, err := l.Revoke(t.Context(), given); err != nil || got.ID != want.ID || !got.Revoked.Equal(noon) {
				t.Errorf("%q: %+v, %v, want %s", given, got, err, want.ID)
			}
		}
		for _, secret := range []string{aSecret, bSecret, cSecret} {
			refused(t, l, secret)
		}
	})
}

func init() {
	children["revoke"] = func() error {
		l, err := childLedger()
		if err != nil {
			return err
		}
		if _, err := l.Revoke(context.Background(), os.Getenv("AIM_LEDGER_KEY")); err != nil {
			return err
		}
		return l.Close()
	}
}

func TestRevokedByAnotherProcess(t *testing.T) {
	both(t, func(t *testing.T, dsn string) {
		l, replica := open(t, dsn, Options{}), open(t, dsn, Options{})
		key, secret := create(t, l, "a")
		for _, l := range []*Ledger{l, replica} {
			if found, err := l.Find(t.Context(), secret); err != nil || found.ID != key.ID {
				t.Fatalf("found %+v, %v", found, err)
			}
		}
		cmd := child(t, "revoke", dsn, t.TempDir())
		cmd.Env = append(cmd.Env, "AIM_LEDGER_KEY="+key.ID)
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		refused(t, l, secret)
		refused(t, replica, secret)
	})
}

func TestKeysWhileTheDatabaseIsDown(t *testing.T) {
	server := testpostgres.Start(t)
	clock := newClock(noon)
	l := open(t, server.Database(t), Options{Now: clock.now, Timeout: time.Second})
	known, knownSecret, err := l.CreateKey(t.Context(), "known", noon.Add(time.Hour), account.Grant{Priority: 9})
	if err != nil {
		t.Fatal(err)
	}
	revoked, revokedSecret := create(t, l, "revoked")
	_, unseenSecret := create(t, l, "unseen")
	for _, secret := range []string{knownSecret, revokedSecret} {
		if _, err := l.Find(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Revoke(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	if found, err := l.Find(t.Context(), knownSecret); err != nil || !reflect.DeepEqual(found, known) {
		t.Errorf("found %+v, %v, want %+v from memory", found, err, known)
	}
	for _, secret := range []string{unseenSecret, revokedSecret, "aim-" + strings.Repeat("0", 43)} {
		if _, err := l.Find(t.Context(), secret); !errors.Is(err, account.ErrUnavailable) {
			t.Errorf("error %v, want %v", err, account.ErrUnavailable)
		}
	}
	clock.set(noon.Add(time.Hour))
	refused(t, l, knownSecret) // expired meanwhile
	clock.set(noon)
	refused(t, l, "not even a secret")
	for name, ask := range map[string]func() error{
		"Keys":   func() error { _, err := l.Keys(t.Context()); return err },
		"Revoke": func() error { _, err := l.Revoke(t.Context(), known.ID); return err },
		"Totals": func() error { _, err := l.Totals(t.Context(), account.Query{}); return err },
		"Spent":  func() error { _, err := l.Spent(t.Context(), known.ID, noon); return err },
		"create": func() error { _, _, err := l.CreateKey(t.Context(), "a", time.Time{}, account.Grant{}); return err },
	} {
		if err := ask(); !errors.Is(err, account.ErrUnavailable) {
			t.Errorf("%s: error %v, want %v", name, err, account.ErrUnavailable)
		}
	}
	if any, err := l.HasKeys(t.Context()); !any || err != nil {
		t.Errorf("has keys: %t, %v", any, err)
	}
	server.Restart(t)
	eventually(t, "a key that was not seen before is found", func() bool {
		_, err := l.Find(t.Context(), unseenSecret)
		return err == nil
	})
	refused(t, l, revokedSecret)
}

func TestKeysAreRememberedForATime(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "aim.db"), Options{Remember: time.Nanosecond})
	_, secret := create(t, l, "a")
	if _, err := l.Find(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	l.db.Close()
	if _, err := l.Find(t.Context(), secret); !errors.Is(err, account.ErrUnavailable) {
		t.Errorf("error %v, want %v", err, account.ErrUnavailable)
	}
}

func TestMemoryForKeysIsBounded(t *testing.T) {
	var c cache
	for i := range remembered + 100 {
		c.put(fmt.Sprint(i), account.Key{}, 0)
	}
	if len(c.keys) != remembered {
		t.Errorf("%d keys, want %d", len(c.keys), remembered)
	}
	l := open(t, filepath.Join(t.TempDir(), "aim.db"), Options{})
	for range 100 {
		refused(t, l, SecretPrefix+random(secretLength))
	}
	if len(l.cache.keys) > 0 {
		t.Errorf("strangers left %d entries", len(l.cache.keys))
	}
	// What was looked up before a revocation does not enter after it.
	generation := c.generation()
	c.forgetID("any")
	c.put("late", account.Key{}, generation)
	if _, ok := c.get("late", time.Hour); ok {
		t.Error("a key that may be revoked is remembered")
	}
}

func TestDamagedGrantIsRefused(t *testing.T) {
	both(t, func(t *testing.T, dsn string) {
		l := open(t, dsn, Options{})
		key, secret := create(t, l, "a")
		other, otherSecret := create(t, l, "b")
		if _, err := l.db.Exec(`UPDATE aim_keys SET permits = '{"new_limit":1}' WHERE id = $1`, key.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Find(t.Context(), secret); !errors.Is(err, account.ErrUnavailable) || !strings.Contains(err.Error(), "new_limit") {
			t.Errorf("error %v, want one about new_limit", err)
		}
		if found, err := l.Find(t.Context(), otherSecret); err != nil || found.ID != other.ID {
			t.Errorf("another key: %+v, %v", found, err)
		}
		if keys, err := l.Keys(t.Context()); len(keys) != 2 || err == nil {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		if _, err := l.Revoke(t.Context(), key.ID); err != nil {
			t.Error(err)
		}
	})
}
