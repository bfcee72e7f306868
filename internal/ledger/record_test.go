package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aim/internal/account"
)

func TestRecordedOnce(t *testing.T) {
	both(t, func(t *testing.T, dsn string) {
		l, replica := open(t, dsn, Options{}), open(t, dsn, Options{})
		const workers, each, distinct = 200, 25, 3000
		want := map[string]bool{}
		var all sync.WaitGroup
		for w := range workers {
			for i := range each {
				want[fmt.Sprint((w*each+i)%distinct)] = true
			}
			all.Go(func() {
				for i := range each {
					to := []*Ledger{l, replica}[(w+i)%2]
					if err := to.Record(t.Context(), usage(fmt.Sprint((w*each+i)%distinct))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		// Two replicas may have met at a row, and one of them stepped back to its journal.
		eventually(t, "nothing waits", func() bool { return !l.waiting() && !replica.waiting() })
		if got := requests(t, l); !maps.Equal(got, want) {
			t.Errorf("%d requests, want %d", len(got), len(want))
		}
		total := account.Total{Requests: distinct, PromptTokens: 10 * distinct, CachedTokens: 4 * distinct, CompletionTokens: 5 * distinct}
		if got := sum(t, l); got != total {
			t.Errorf("total %+v, want %+v", got, total)
		}
	})
}

func TestRecordsThatCannotBe(t *testing.T) {
	both(t, func(t *testing.T, dsn string) {
		l := open(t, dsn, Options{})
		for want, change := range map[string]func(*account.Usage){
			"request":           func(u *account.Usage) { u.Request = "" },
			"256 bytes":         func(u *account.Usage) { u.Request = strings.Repeat("a", 257) },
			"began":             func(u *account.Usage) { u.Began = time.Time{} },
			"1099511627776":     func(u *account.Usage) { u.PromptTokens = 1<<40 + 1 },
			"status":            func(u *account.Usage) { u.Status = 1 << 40 },
			"prompt_tokens":     func(u *account.Usage) { u.PromptTokens = -1 },
			"completion_tokens": func(u *account.Usage) { u.CompletionTokens = -1 },
		} {
			u := usage("r")
			change(&u)
			if err := l.Record(t.Context(), u); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want one with %q", err, want)
			}
		}
		// Whatever a client may have put there goes in.
		u := usage("odd")
		u.Model, u.Code, u.Endpoint = "a\x00b\xff", strings.Repeat("ü", 300), "'; DROP TABLE aim_usage; --"
		if err := l.Record(t.Context(), u); err != nil {
			t.Error(err)
		}
		totals, err := l.Totals(t.Context(), account.Query{By: []string{"model"}})
		if err != nil || len(totals) != 1 || totals[0].Model != "ab" || totals[0].Failed != 1 || l.Status().Database != nil {
			t.Errorf("totals %+v, %v, status %+v", totals, err, l.Status())
		}
	})
}

func TestClientThatLeftIsRecorded(t *testing.T) {
	dsn := filepath.Join(t.TempDir(), "aim.db")
	l := open(t, dsn, Options{})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 100 {
		if err := l.Record(gone, usage(fmt.Sprint(i))); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Record(t.Context(), usage("late")); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v, want %v", err, ErrClosed)
	}
	if n := len(requests(t, open(t, dsn, Options{}))); n != 100 {
		t.Errorf("%d requests, want 100", n)
	}
}

func TestTotalsAgreeWithRecords(t *testing.T) {
	both(t, func(t *testing.T, dsn string) {
		l := open(t, dsn, Options{})
		rng := rand.New(rand.NewPCG(7, 7))
		start := time.Date(2026, 10, 30, 0, 0, 0, 0, time.UTC)
		var all []account.Usage
		var group sync.WaitGroup
		for i := range 500 {
			u := usage(fmt.Sprint(i))
			u.Key, u.Model = []string{"", "key_a", "key_b"}[rng.IntN(3)], []string{"m", "n"}[rng.IntN(2)]
			u.Began = start.Add(time.Duration(rng.IntN(5*24*60)) * time.Minute)
			u.Status, u.PromptTokens, u.CachedTokens, u.CompletionTokens = []int{200, 499, 500}[rng.IntN(3)], rng.IntN(100), rng.IntN(50), rng.IntN(100)
			all = append(all, u)
			group.Go(func() {
				if err := l.Record(t.Context(), u); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		hours := []int{-1, 0, 10, 24, 30, 48, 49, 72, 120, 130} // after start; -1 is no bound
		at := func(h int) time.Time {
			if h < 0 {
				return time.Time{}
			}
			return start.Add(time.Duration(h) * time.Hour)
		}
		for _, from := range hours {
			for _, to := range hours {
				by := [][]string{nil, {"key"}, {"model", "day"}, {"month", "key"}, {"day"}, {"key", "model"}}[rng.IntN(6)]
				q := account.Query{Key: []string{"", "key_a"}[rng.IntN(2)], Model: []string{"", "n"}[rng.IntN(2)], From: at(from), To: at(to), By: by}
				got, err := l.Totals(t.Context(), q)
				if want := added(all, q); err != nil || !slices.Equal(got, want) {
					t.Fatalf("%+v:\ngot  %+v, %v\nwant %+v", q, got, err, want)
				}
			}
			for _, key := range []string{"", "key_b", "key_none"} {
				var want int64
				for _, u := range all {
					if u.Key == key && !u.Began.Before(at(from)) {
						want += int64(u.Tokens())
					}
				}
				if got, err := l.Spent(t.Context(), key, at(from)); err != nil || got != want {
					t.Errorf("spent %d, %v since %v, want %d", got, err, at(from), want)
				}
			}
		}
		for _, by := range [][]string{{"day", "month"}, {"year"}, {"key", ""}} {
			if _, err := l.Totals(t.Context(), account.Query{By: by}); err == nil || !strings.HasPrefix(err.Error(), "by: ") {
				t.Errorf("by %q: error %v", by, err)
			}
		}
	})
}

// added answers a query by going through all records.
func added(all []account.Usage, q account.Query) []account.Total {
	totals := map[string]*account.Total{}
	if len(q.By) == 0 {
		totals[""] = &account.Total{}
	}
	for _, u := range all {
		if q.Key != "" && u.Key != q.Key || q.Model != "" && u.Model != q.Model || u.Began.Before(q.From) || !q.To.IsZero() && !u.Began.Before(q.To) {
			continue
		}
		var t account.Total
		for _, by := range q.By {
			switch by {
			case "key":
				t.Key = u.Key
			case "model":
				t.Model = u.Model
			case "day":
				t.Period = u.Began.Format(time.DateOnly)
			case "month":
				t.Period = u.Began.Format("2006-01")
			}
		}
		place := t.Period + "\x00" + t.Key + "\x00" + t.Model
		if len(q.By) == 0 {
			place = ""
		}
		if totals[place] == nil {
			totals[place] = &t
		}
		sum := totals[place]
		sum.Requests++
		if u.Status >= 400 {
			sum.Failed++
		}
		sum.PromptTokens += int64(u.PromptTokens)
		sum.CachedTokens += int64(u.CachedTokens)
		sum.CompletionTokens += int64(u.CompletionTokens)
	}
	var list []account.Total
	for _, place := range slices.Sorted(maps.Keys(totals)) {
		list = append(list, *totals[place])
	}
	return list
}

func init() {
	// record records from eight goroutines until it is killed, and writes the ID of each record that was acknowledged.
	children["record"] = func() error {
		l, err := childLedger()
		if err != nil {
			return err
		}
		for w := range 8 {
			go func() {
				for i := 0; ; i++ {
					id := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
					if l.Record(context.Background(), usage(id)) == nil {
						os.Stdout.WriteString(id + "\n")
					} else {
						time.Sleep(time.Millisecond)
					}
				}
			}()
		}
		select {}
	}
}

// killed runs a child that records, kills it when it has acknowledged some and after what happens meanwhile, and returns those.
func killed(t *testing.T, dsn, spool string, meanwhile func(acknowledged *os.File)) map[string]bool {
	t.Helper()
	cmd := child(t, "record", dsn, spool)
	out, err := os.Create(filepath.Join(t.TempDir(), "acknowledged"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	eventually(t, "200 records are acknowledged", func() bool {
		info, err := out.Stat()
		return err == nil && info.Size() > 200*8
	})
	if meanwhile != nil {
		meanwhile(out)
	}
	_ = cmd.Process.Kill()
	if err := cmd.Wait(); !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return lines(text)
}

// containsAll checks that all that was acknowledged is recorded, and that nothing is twice in the totals.
func containsAll(t *testing.T, l *Ledger, acknowledged map[string]bool) {
	t.Helper()
	recorded := requests(t, l)
	for id := range acknowledged {
		if !recorded[id] {
			t.Errorf("%s was acknowledged and is not recorded, as are %d of %d", id, len(recorded), len(acknowledged))
			return
		}
	}
}

func TestKilledWhileRecording(t *testing.T) {
	both(t, func(t *testing.T, dsn string) {
		acknowledged := map[string]bool{}
		for range 3 {
			maps.Copy(acknowledged, killed(t, dsn, t.TempDir(), nil))
		}
		containsAll(t, open(t, dsn, Options{}), acknowledged)
	})
}

func BenchmarkRecord(b *testing.B) {
	l := open(b, filepath.Join(b.TempDir(), "aim.db"), Options{})
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers-per-core=%d", callers), func(b *testing.B) {
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := l.Record(b.Context(), usage(random(16))); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkFind(b *testing.B) {
	l := open(b, filepath.Join(b.TempDir(), "aim.db"), Options{})
	_, secret, err := l.CreateKey(b.Context(), "a", time.Time{}, account.Grant{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := l.Find(b.Context(), secret); err != nil {
			b.Fatal(err)
		}
	}
}
