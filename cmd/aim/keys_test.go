package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"aim/internal/account"
	"aim/internal/ledger"
	"aim/internal/testpostgres"
)

// openAccountsOf opens the database of a test as a server does.
func openAccountsOf(t *testing.T, dsn string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), dsn, ledger.Options{Spool: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestKeysOfARunningServer(t *testing.T) {
	t.Setenv("AIM_DATABASE", "") // not the accounts of whoever runs the tests
	dir := t.TempDir()
	for name, dsn := range map[string]string{
		"sqlite":   filepath.Join(dir, "aim.db"),
		"postgres": "",
	} {
		t.Run(name, func(t *testing.T) {
			if dsn == "" {
				dsn = testpostgres.Start(t).Database(t)
				t.Setenv("AIM_DATABASE", dsn)
			}
			keysOfARunningServer(t, dsn, dir)
		})
	}
}

func keysOfARunningServer(t *testing.T, dsn, stateDir string) {
	server := openAccountsOf(t, dsn)
	aim := func(args ...string) string {
		t.Helper()
		out, err := try(t, "", append(args, "--state-dir", stateDir)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := aim("keys", "list"); !strings.Contains(out, "no keys") {
		t.Errorf("list: %s", out)
	}
	secret := strings.TrimSpace(aim("keys", "create", "--name", "Ada", "--models", "a-*,b", "--models", "c", "--rpm", "60", "--cidr", "10.0.0.0/8,::1",
		"--tokens-per-day", "100000", "--expires", "30d", "--max-focus", "0.5", "--lower-utility"))
	key, err := server.Find(t.Context(), secret)
	if g := key.Grant; err != nil || key.Name != "Ada" || !slices.Equal(g.Models, []string{"a-*", "b", "c"}) || g.RequestsPerMinute != 60 ||
		len(g.Networks) != 2 || g.TokensPerDay != 100_000 || *g.MaxFocus != 0.5 || !g.LowerUtility || g.Admin ||
		key.Expires.Sub(key.Created).Round(time.Hour) != 720*time.Hour {
		t.Errorf("key %+v, %v", key, err)
	}
	var made struct {
		Key    account.Key
		Secret string
	}
	if err := json.Unmarshal([]byte(aim("keys", "create", "--name", "admin", "--admin", "--json")), &made); err != nil || !made.Key.Grant.Admin {
		t.Errorf("made %+v, %v", made, err)
	}
	var listed []account.Key
	if err := json.Unmarshal([]byte(aim("keys", "list", "--json")), &listed); err != nil || len(listed) != 2 || listed[0].ID != key.ID {
		t.Errorf("listed %+v, %v", listed, err)
	}
	if out := aim("keys", "list"); !strings.Contains(out, key.ID) || !strings.Contains(out, "models a-* b c, 60 requests/min") || strings.Contains(out, secret) {
		t.Errorf("list: %s", out)
	}
	for i, id := range []string{key.ID, key.ID, made.Key.ID} {
		err := server.Record(t.Context(), account.Usage{
			Request: string(rune('a' + i)), Key: id, Model: "b", Endpoint: "/", Status: 200, PromptTokens: 10, CompletionTokens: 1,
			Began: time.Date(2026, 11, 26+i, 0, 0, 0, 0, time.UTC),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	checkUsage(t, aim, key)
	if out := aim("keys", "revoke", key.Prefix); !strings.Contains(out, "is revoked") {
		t.Errorf("revoke: %s", out)
	}
	if _, err := server.Find(t.Context(), secret); !errors.Is(err, account.ErrNoKey) {
		t.Errorf("error %v, want %v at once", err, account.ErrNoKey)
	}
	if out := aim("keys", "list"); !strings.Contains(out, "revoked") {
		t.Errorf("list: %s", out)
	}
}

// checkUsage looks at two records of a key, of 26 and 27 November, and one of another key the day after.
func checkUsage(t *testing.T, aim func(...string) string, key account.Key) {
	t.Helper()
	out := strings.Join(strings.Fields(aim("usage", "--by", "key,month")), " ")
	if !strings.Contains(out, "2026-11 "+key.ID+" Ada 2 0 20 0 2") {
		t.Errorf("usage:\n%s", out)
	}
	rows, err := csv.NewReader(strings.NewReader(aim("usage", "--by", "day", "--by", "model", "--key", key.Prefix, "--csv"))).ReadAll()
	want := []string{"period,model,requests,failed,prompt_tokens,cached_tokens,completion_tokens", "2026-11-26,b,1,0,10,0,1", "2026-11-27,b,1,0,10,0,1"}
	var got []string
	for _, r := range rows {
		got = append(got, strings.Join(r, ","))
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("usage %q, %v, want %q", got, err, want)
	}
	var totals []account.Total
	err = json.Unmarshal([]byte(aim("usage", "--json", "--from", "2026-11-27", "--to", "2026-11-28T12:00:00Z")), &totals)
	if err != nil || len(totals) != 1 || totals[0].Requests != 2 {
		t.Errorf("totals %+v, %v", totals, err)
	}
}

func TestMistakesAboutKeysAreNamed(t *testing.T) {
	t.Setenv("AIM_DATABASE", "")
	for _, c := range []struct {
		line, want string
		code       int
	}{
		{"keys create", "--name", 2},
		{"keys create --name x --rpm -1", "--rpm", 2},
		{"keys create --name x --models [a", `"[a"`, 2},
		{"keys create --name x --expires 2020-01-01", "future", 2},
		{"keys create --name x --expires soon", "30d", 2},
		{"keys create --name x --cidr 10.1.2.3/8", "10.0.0.0/8", 2},
		{"keys create --name x --priority 101", "1 to 100", 2},
		{"keys create --name x --max-focus 2", "0 to 1", 2},
		{"keys create --name x --database postgres://u:geheim@h:port/", "--database", 2},
		{"keys list --database nowhere.db", "aim keys create", 1},
		{"keys revoke", "arg", 2},
		{"usage --by year", "key, model, day, month", 2},
		{"usage --by day,month", "one of them", 2},
		{"usage --from 2026-11-02 --to 2026-11-01", "--to", 2},
		{"usage --from yesterday", "2026-11-27", 2},
		{"usage --json --csv", "one of them", 2},
	} {
		out, err := try(t, "", append(strings.Fields(c.line), "--state-dir", t.TempDir())...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "geheim") || exitCode(err) != c.code || out != "" {
			t.Errorf("%s: %v (exit %d), want %q and exit %d; output %q", c.line, err, exitCode(err), c.want, c.code, out)
		}
	}
}
