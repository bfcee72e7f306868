package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"aim/internal/account"
	"aim/internal/testpostgres"
)

// recordAll records in parallel, and wants each to be kept.
func recordAll(t *testing.T, l *Ledger, ids ...string) {
	t.Helper()
	var all sync.WaitGroup
	for _, id := range ids {
		all.Go(func() {
			if err := l.Record(context.Background(), usage(id)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func numbered(prefix string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprint(prefix, i))
	}
	return ids
}

func set(ids ...string) map[string]bool {
	m := map[string]bool{}
	for _, id := range ids {
		m[id] = true
	}
	return m
}

// journals are the files of journals in a folder.
func journals(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "usage-*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// occupy holds SQLite's lock for writing, as a long backup might, until it is released.
func occupy(t *testing.T, dsn string) (release func()) {
	t.Helper()
	db, err := openDatabase(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		_ = tx.Rollback()
		db.Close()
	})
}

func TestDatabaseStopsAndComesBack(t *testing.T) {
	server := testpostgres.Start(t)
	dsn, spool := server.Database(t), t.TempDir()
	l := open(t, dsn, Options{Spool: spool, Timeout: time.Second})
	before, during, after := numbered("before", 20), numbered("during", 700), numbered("after", 20)
	recordAll(t, l, before...)
	server.Stop(t)
	recordAll(t, l, during...)
	recordAll(t, l, before[:5]...) // again: it may be that only the answer was lost
	if s := l.Status(); s.Database == nil || s.Spooled != 705 || s.Volatile != 0 || l.Healthy() != nil {
		t.Errorf("status %+v, healthy: %v, want 705 in the journal", s, l.Healthy())
	}
	server.Restart(t)
	eventually(t, "the database is back", func() bool { return !l.waiting() })
	recordAll(t, l, after...)
	want := set(append(append(before, during...), after...)...)
	if got := requests(t, l); !maps.Equal(got, want) || len(journals(t, spool)) > 0 {
		t.Errorf("%d requests, want %d; journals %q", len(got), len(want), journals(t, spool))
	}
}

func TestKilledWhileTheDatabaseIsDown(t *testing.T) {
	server := testpostgres.Start(t)
	dsn, spool := server.Database(t), t.TempDir()
	acknowledged := killed(t, dsn, spool, func(*os.File) {
		server.Stop(t)
		eventually(t, "records are in the journal", func() bool {
			files := journals(t, spool)
			if len(files) == 0 {
				return false
			}
			info, err := os.Stat(files[0])
			return err == nil && info.Size() > 10_000
		})
	})
	server.Restart(t)
	containsAll(t, open(t, dsn, Options{Spool: spool}), acknowledged)
	if files := journals(t, spool); len(files) > 0 {
		t.Errorf("journals %q are left", files)
	}
}

func TestBusyDatabase(t *testing.T) {
	dsn, spool := filepath.Join(t.TempDir(), "aim.db"), t.TempDir()
	l := open(t, dsn, Options{Spool: spool, Timeout: 50 * time.Millisecond})
	release := occupy(t, dsn)
	defer release()
	ids := numbered("r", 300)
	recordAll(t, l, ids...)
	if s := l.Status(); s.Database == nil || s.Spooled != 300 {
		t.Errorf("status %+v, want 300 in the journal", s)
	}
	if key, err := l.Find(t.Context(), SecretPrefix+random(secretLength)); !errors.Is(err, account.ErrNoKey) {
		t.Errorf("found %+v, %v: who only reads does not wait", key, err)
	}
	release()
	eventually(t, "all is in the database", func() bool { return !l.waiting() })
	if got := requests(t, l); !maps.Equal(got, set(ids...)) || len(journals(t, spool)) > 0 {
		t.Errorf("%d requests, want %d; journals %q", len(got), len(ids), journals(t, spool))
	}
}

func TestKilledWhileTheDatabaseIsBusy(t *testing.T) {
	dsn, spool := filepath.Join(t.TempDir(), "aim.db"), t.TempDir()
	open(t, dsn, Options{})
	release := occupy(t, dsn)
	defer release()
	acknowledged := killed(t, dsn, spool, nil)
	files := journals(t, spool)
	if len(files) == 0 {
		t.Fatal("there is no journal")
	}
	// Power may be lost in the middle of a line.
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString(`{"request":"torn","began":"2026-11-2`)
	f.Close()
	release()
	l := open(t, dsn, Options{Spool: spool})
	containsAll(t, l, acknowledged)
	if files := journals(t, spool); len(files) > 0 {
		t.Errorf("journals %q are left", files)
	}
}

func TestClosedWhileTheDatabaseIsBusy(t *testing.T) {
	dsn, spool := filepath.Join(t.TempDir(), "aim.db"), t.TempDir()
	l := open(t, dsn, Options{Spool: spool, Timeout: 20 * time.Millisecond})
	release := occupy(t, dsn)
	defer release()
	recordAll(t, l, numbered("r", 10)...)
	if err := l.Close(); err != nil {
		t.Errorf("%v: what is in the journal is safe", err)
	}
	release()
	if n := len(requests(t, open(t, dsn, Options{Spool: spool}))); n != 10 {
		t.Errorf("%d requests, want 10", n)
	}
}

func TestNeitherDatabaseNorJournal(t *testing.T) {
	dir := t.TempDir()
	dsn, spool := filepath.Join(dir, "aim.db"), filepath.Join(dir, "spool")
	if err := os.WriteFile(spool, nil, 0o600); err != nil { // where the folder should be
		t.Fatal(err)
	}
	l := open(t, dsn, Options{Spool: spool, Timeout: 20 * time.Millisecond, Memory: 3})
	release := occupy(t, dsn)
	defer release()
	for i := range 3 {
		if err := l.Record(t.Context(), usage(fmt.Sprint(i))); !errors.Is(err, ErrVolatile) {
			t.Errorf("error %v, want %v", err, ErrVolatile)
		}
	}
	if err := l.Record(t.Context(), usage("lost")); !errors.Is(err, ErrLost) {
		t.Errorf("error %v, want %v", err, ErrLost)
	}
	if s := l.Status(); !errors.Is(l.Healthy(), ErrVolatile) || s.Volatile != 3 || s.Lost != 1 {
		t.Errorf("healthy: %v, status %+v", l.Healthy(), s)
	}
	// The journal works again, and then the database.
	if err := os.Remove(spool); err != nil {
		t.Fatal(err)
	}
	eventually(t, "memory is in the journal", func() bool { return l.Status().Spooled == 3 && l.Healthy() == nil })
	if err := l.Record(t.Context(), usage("3")); err != nil {
		t.Error(err)
	}
	release()
	eventually(t, "all is in the database", func() bool { return !l.waiting() })
	if got := requests(t, l); !maps.Equal(got, set("0", "1", "2", "3")) {
		t.Errorf("requests %v", got)
	}
}

func TestJournalsOfOthers(t *testing.T) {
	dir := t.TempDir()
	dsn := filepath.Join(dir, "aim.db")
	l := open(t, dsn, Options{Spool: dir, Timeout: 20 * time.Millisecond})
	release := occupy(t, dsn)
	defer release()
	recordAll(t, l, "alive")
	alive := journals(t, dir)
	line, err := os.ReadFile(alive[0])
	if err != nil {
		t.Fatal(err)
	}
	left := strings.Replace(string(line), "alive", "left", 1)
	for name, content := range map[string]string{
		"usage-" + l.journal.id + "-left.journal":    left,
		"usage-" + l.journal.id + "-damaged.journal": "not JSON\n" + strings.Replace(left, "left", "damaged", 1) + `{"request":"no time"}` + "\n",
		"usage-" + l.journal.id + "-empty.journal":   "",
		"usage-other-left.journal":                   strings.Replace(left, "left", "other", 1),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	release()
	second := open(t, dsn, Options{Spool: dir})
	eventually(t, "all is in the database", func() bool { return !l.waiting() && !second.waiting() })
	if got := requests(t, second); !maps.Equal(got, set("alive", "left", "damaged")) {
		t.Errorf("requests %v", got)
	}
	want := set(filepath.Join(dir, "usage-other-left.journal"), filepath.Join(dir, "usage-"+l.journal.id+"-damaged.journal.damaged"))
	if got := set(journals(t, dir)...); !maps.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
}
