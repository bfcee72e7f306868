package ledger

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aim/internal/account"
	"aim/internal/testpostgres"
)

// children are what this test binary does instead of testing where it is started again with childVariable set.
var children = map[string]func() error{}

const childVariable = "AIM_LEDGER_CHILD"

func TestMain(m *testing.M) {
	if work, ok := children[os.Getenv(childVariable)]; ok {
		if err := work(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child prepares a child process for a piece of work on a database.
func child(t *testing.T, work, dsn, spool string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+work, "AIM_LEDGER_DSN="+dsn, "AIM_LEDGER_SPOOL="+spool)
	cmd.Stderr = os.Stderr
	return cmd
}

// childLedger opens the ledger of a child process.
func childLedger() (*Ledger, error) {
	return Open(context.Background(), os.Getenv("AIM_LEDGER_DSN"), Options{Spool: os.Getenv("AIM_LEDGER_SPOOL")})
}

// both runs a test on SQLite and on PostgreSQL, each with a database of its own.
func both(t *testing.T, f func(t *testing.T, dsn string)) {
	t.Run("sqlite", func(t *testing.T) { f(t, filepath.Join(t.TempDir(), "aim ?#%.db")) })
	t.Run("postgres", func(t *testing.T) { f(t, testpostgres.Start(t).Database(t)) })
}

// open opens a ledger that is closed after the test. Its spool is a folder of the test's where none is given.
func open(t testing.TB, dsn string, o Options) *Ledger {
	t.Helper()
	if o.Spool == "" {
		o.Spool = t.TempDir()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Retry == 0 {
		o.Retry = 20 * time.Millisecond
	}
	l, err := Open(t.Context(), dsn, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// usage is a record whose tokens are 10 and 5.
func usage(request string) account.Usage {
	return account.Usage{
		Request: request, Key: "key_a", Model: "m", Endpoint: "/v1/chat/completions", Began: noon, Duration: time.Second, Status: 200,
		PromptTokens: 10, CachedTokens: 4, CompletionTokens: 5,
	}
}

// sum is the one total of a ledger.
func sum(t *testing.T, l *Ledger) account.Total {
	t.Helper()
	totals, err := l.Totals(t.Context(), account.Query{})
	if err != nil || len(totals) != 1 {
		t.Fatalf("totals %v, %v", totals, err)
	}
	return totals[0]
}

// requests are the IDs of what is recorded, and checks that the totals agree.
func requests(t *testing.T, l *Ledger) map[string]bool {
	t.Helper()
	rows, err := l.db.Query(`SELECT request FROM aim_usage`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	ids := map[string]bool{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids[id] = true
	}
	if n := sum(t, l).Requests; n != int64(len(ids)) || rows.Err() != nil {
		t.Errorf("totals count %d requests of %d, %v", n, len(ids), rows.Err())
	}
	return ids
}

func TestFilesAreTheOwners(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there")
	l := open(t, filepath.Join(dir, "aim.db"), Options{})
	if err := l.Record(t.Context(), usage("r")); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) < 2 {
		t.Errorf("files %q, want a database and its log", files)
	}
	for _, f := range append(files, dir) {
		info, err := os.Stat(f)
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v, want it closed to others", f, info.Mode(), err)
		}
	}
}

func TestMistakenDSN(t *testing.T) {
	for dsn, want := range map[string]string{
		"":                                   "no database",
		"host=db password=geheim dbname=aim": "postgres://",
		"mysql://localhost/aim":              "mysql://",
		"postgres://aim:geheim@host:x/aim":   "port",
		"postgres://aim:geheim@127.0.0.1:1/": "cannot be reached",
		"/dev/null/aim.db":                   "cannot be reached",
	} {
		_, err := Open(t.Context(), dsn, Options{Spool: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: error %v, want one with %q and without the password", dsn, err, want)
		}
	}
}

// raw opens a database without this package's migrations, and runs statements.
func raw(t *testing.T, dsn, statements string) {
	t.Helper()
	driver, name := "sqlite", (&url.URL{Scheme: "file", Path: dsn}).String()
	if isPostgres(dsn) {
		driver, name = "pgx", dsn
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statements); err != nil {
		t.Fatal(err)
	}
}

func TestOldTablesAreBroughtUpToDate(t *testing.T) {
	both(t, func(t *testing.T, dsn string) {
		dialect := "sqlite"
		if isPostgres(dsn) {
			dialect = "postgres"
		}
		for _, file := range []string{"version1.sql", "version1." + dialect + ".sql"} {
			old, err := os.ReadFile(filepath.Join("testdata", file))
			if err != nil {
				t.Fatal(err)
			}
			raw(t, dsn, string(old))
		}
		l := open(t, dsn, Options{})
		keys, err := l.Keys(t.Context())
		if err != nil || len(keys) != 2 || keys[0].Grant.TokensPerDay != 1000 || keys[1].Revoked.IsZero() {
			t.Errorf("keys %+v, %v", keys, err)
		}
		key, err := l.Find(t.Context(), "aim-0000000000000000000000000000000000000000001")
		if err != nil || key.ID != "key_old" {
			t.Errorf("key %+v, %v", key, err)
		}
		got, err := l.Totals(t.Context(), account.Query{By: []string{"day", "key"}})
		want := []account.Total{
			{Period: "2026-11-26", Key: "", Requests: 1, Failed: 1, PromptTokens: 7},
			{Period: "2026-11-26", Key: "key_old", Requests: 2, Failed: 1, PromptTokens: 30, CachedTokens: 4, CompletionTokens: 9},
			{Period: "2026-11-27", Key: "key_old", Requests: 1, PromptTokens: 1, CompletionTokens: 1},
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("totals %v, %v, want %v", got, err, want)
		}
		// A request that the old program recorded counts no second time.
		if err := l.Record(t.Context(), account.Usage{Request: "req_1", Began: noon}); err != nil || sum(t, l).Requests != 4 {
			t.Errorf("%v, totals %+v", err, sum(t, l))
		}
	})
}

func TestNewerTablesAreRefused(t *testing.T) {
	both(t, func(t *testing.T, dsn string) {
		l := open(t, dsn, Options{})
		if _, err := l.db.Exec(`INSERT INTO aim_schema (version_id, is_applied) VALUES (99, $1)`, true); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), dsn, Options{})
		newer := &NewerError{}
		if !errors.As(err, &newer) || newer.Have != 99 || newer.Known != 2 || errors.Is(err, account.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
	})
}

func init() {
	children["open"] = func() error {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // all start at once
		l, err := childLedger()
		if err != nil {
			return err
		}
		return l.Close()
	}
}

func TestProcessesOpenAtOnce(t *testing.T) {
	both(t, func(t *testing.T, dsn string) {
		var all []*exec.Cmd
		var starts []io.WriteCloser
		for range 4 {
			cmd := child(t, "open", dsn, t.TempDir())
			start, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			all, starts = append(all, cmd), append(starts, start)
		}
		for _, start := range starts {
			start.Close()
		}
		for _, cmd := range all {
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		}
		open(t, dsn, Options{})
	})
}

// lines are the whole lines that a child wrote.
func lines(out []byte) map[string]bool {
	ids := map[string]bool{}
	for line := range strings.Lines(string(out[:bytes.LastIndexByte(out, '\n')+1])) {
		ids[strings.TrimSpace(line)] = true
	}
	return ids
}
