package faults

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aim/internal/account"
)

// slacks are how much may be there after a storm that was not there before.
const (
	moreGoroutines = 4       // of the runtime and of database/sql, which come and go
	moreFiles      = 2       // those of SQLite are not counted
	moreHeap       = 4 << 20 // bytes: SQLite's page cache, the buffers of connections
)

// holding is what a process holds.
type holding struct {
	goroutines, files int
	heap              uint64
	resident          uint64 // of another process
}

func held() holding {
	calm.CloseIdleConnections()
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return holding{goroutines: runtime.NumGoroutine(), files: openFiles(os.Getpid()), heap: m.HeapAlloc}
}

// openFiles counts the open files of a process, sockets among them, but not those of SQLite, whose pool keeps up to 8 connections. It is 0 where there
// is no /proc.
func openFiles(pid int) (n int) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && !strings.Contains(to, "aim.db") {
			n++
		}
	}
	return n
}

// within says that no more is held than before, but for the slacks.
func (h holding) within(before holding) bool {
	return h.goroutines <= before.goroutines+moreGoroutines && h.files <= before.files+moreFiles && h.heap <= before.heap+moreHeap
}

// settled waits until a process holds what it did.
func settled(t *testing.T, before holding) (after holding) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		after = held()
		if after.within(before) {
			return after
		}
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("the process held %+v and holds %+v\n%.8000s", before, after, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// TestStorm: many clients that do all kinds of things, good and bad, at once. Each gets what is its due, and nothing is left of them but the records.
func TestStorm(t *testing.T) {
	requests, clients := pick(1500, 10_000), 200
	s := open(t, options{slots: 8, queue: 64, pause: 200 * time.Microsecond})
	keys := stormKeys(t, s)
	warm(t, s, keys)
	before := held()
	capacity(t, s)
	began := time.Now()
	kinds := slices.Concat(good(), mistaken(), harmful())
	results := storm("c", s.addr, kinds, keys, fakes, requests, clients)
	took := time.Since(began)

	eventually(t, "the engine is idle", func() bool { st := s.engine.Stats(); return st.Busy == 0 && st.Queued == 0 })
	eventually(t, "all goroutines of requests have ended", func() bool { return held().goroutines <= before.goroutines+moreGoroutines })
	judge(t, kinds, results)
	compare(t, stormSection, s.seen, s.dsn, results)
	capacity(t, s)
	report(stormSection, kinds, results, clients, took)
	clear(results) // what the test keeps is not the server's
	s.seen.clear()
	after := settled(t, before)
	figure(stormSection, "goroutines before, after", "%d, %d (may be %d more)", before.goroutines, after.goroutines, moreGoroutines)
	figure(stormSection, "open files before, after", "%d, %d (may be %d more)", before.files, after.files, moreFiles)
	figure(stormSection, "heap before, after", "%.1f MB, %.1f MB (may be %d MB more)", float64(before.heap)/1e6, float64(after.heap)/1e6, moreHeap>>20)
}

// stormKeys are keys of which some have limits.
func stormKeys(t *testing.T, s *site) []keyed {
	var keys []keyed
	for i := range 12 {
		key, secret := s.key(t, fmt.Sprintf("free %d", i), account.Grant{Priority: 1 + i%4})
		keys = append(keys, keyed{key.ID, secret, false})
	}
	for name, g := range map[string]account.Grant{
		"rate": {RequestsPerMinute: 120}, "tokens": {TokensPerMinute: 2000}, "few": {Concurrency: 3}, "day": {TokensPerDay: 5000}, "month": {TokensPerMonth: 8000},
	} {
		key, secret := s.key(t, name, g)
		keys = append(keys, keyed{key.ID, secret, true})
	}
	return keys
}

// warm lets come to be what stays: connections of the database, caches.
func warm(t *testing.T, s *site, keys []keyed) {
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			if status, body, err := ask(s.url, keys[i%12].secret, chatPath, `{"messages": [{"role": "user", "content": "x"}], "max_tokens": 4}`); err != nil || status != http.StatusOK && status != http.StatusTooManyRequests {
				t.Errorf("status %d, %v: %s", status, err, body)
			}
		})
	}
	all.Wait()
}

// result is an outcome and its kind.
type result struct {
	kind int
	*outcome
}

// storm has clients, whose requests have names that begin alike, send requests at once.
func storm(name, addr string, kinds []kind, keys []keyed, models []string, requests, clients int) []result {
	var urn []int
	for i, k := range kinds {
		urn = append(urn, slices.Repeat([]int{i}, k.weight)...)
	}
	results := make([][]result, clients)
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			c := newClient(name, addr, n, keys, models)
			defer c.web.CloseIdleConnections()
			for range requests / clients {
				time.Sleep(time.Duration(c.random.IntN(100)) * time.Millisecond)
				i := urn[c.random.IntN(len(urn))]
				k := &kinds[i]
				o := c.begin(k.path)
				if k.key != nil {
					k.key(c, o)
				}
				if body := k.body(c); k.send != nil {
					k.send(c, o, body)
				} else {
					c.ask(o, body, 0)
				}
				results[n] = append(results[n], result{i, o})
			}
		})
	}
	all.Wait()
	return slices.Concat(results...)
}

// judge holds each outcome against what its kind may have.
func judge(t *testing.T, kinds []kind, results []result) {
	t.Helper()
	wrong := 0
	for _, r := range results {
		if k := &kinds[r.kind]; !k.expected(r.outcome) {
			if wrong++; wrong <= 20 {
				t.Errorf("%s (%s): status %d, code %q, complete %v, retry %q, error %v; want %q", k.name, r.id, r.status, r.code, r.complete, r.retry, r.err, k.ends)
			}
		}
	}
	if wrong > 20 {
		t.Errorf("%d outcomes are wrong in all", wrong)
	}
}

// compare holds the accounts of the clients, of the server and of the ledger against one another.
func compare(t *testing.T, section string, seen *observer, dsn string, results []result) {
	t.Helper()
	for _, r := range results {
		list := seen.of(r.id)
		if len(list) > 1 || len(list) == 0 && r.status != 0 {
			t.Errorf("%s was seen %d times; its client had status %d", r.id, len(list), r.status)
			continue
		}
		if !r.complete {
			continue
		}
		v := list[0]
		status := r.status
		if status == 529 {
			status = 503
		}
		if v.Status != status || status == http.StatusOK && (v.PromptTokens != r.prompt || v.CompletionTokens != r.completion) && r.path != "/tokenize" && r.path != sayPath+"/count_tokens" {
			t.Errorf("%s %s: the client had status %d, %d and %d tokens; the server %d, %d and %d", r.id, r.path, status, r.prompt, r.completion, v.Status, v.PromptTokens, v.CompletionTokens)
		}
	}
	want := map[row]int{}
	total := 0
	seen.mu.Lock()
	for _, list := range seen.list {
		for _, v := range list {
			if v.Method == http.MethodPost && v.Key != "" {
				want[row{v.Key, v.Endpoint, v.Status, v.Code, v.PromptTokens, v.CompletionTokens}]++
				total++
			}
		}
	}
	seen.mu.Unlock()
	rows, n := records(t, dsn)
	for r, count := range want {
		// A client that leaves when its answer is complete, but was not sent, is recorded as one that has it.
		if here := rows[r]; here < count && r.code == "client_gone" {
			all := r
			all.status, all.code = http.StatusOK, ""
			rows[r], rows[all] = count, rows[all]-(count-here)
		}
	}
	maps.DeleteFunc(rows, func(_ row, count int) bool { return count == 0 })
	if n == total && maps.Equal(rows, want) {
		figure(section, "records of usage", "%d, one for each request of a key that the server saw, with its tokens", n)
		return
	}
	t.Errorf("the ledger has %d records, the server saw %d requests of keys", n, total)
	for r, count := range want {
		if rows[r] != count {
			t.Errorf("%+v: %d times, want %d", r, rows[r], count)
		}
	}
}

// fakes are the models of the servers over the fake.
var fakes = []string{"fake", "fake-standard", "fake-lite"}

const stormSection = "Storm on the fake model"

// capacity makes sure that the server takes as many requests as it has slots and places in its queue, and no more: none of either is lost.
func capacity(t *testing.T, s *site) {
	t.Helper()
	places := s.size.Slots + s.size.Queue
	s.held.Store(true)
	defer s.held.Store(false)
	statuses := make(chan int, places) // all have room, so that none waits for the test
	one := func(secret string) {
		status, _, err := ask(s.url, secret, chatPath, `{"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}`)
		if err != nil {
			status = -1
		}
		statuses <- status
	}
	for i := range places {
		_, secret := s.key(t, fmt.Sprintf("place %d", i), account.Grant{Concurrency: 1})
		go one(secret)
	}
	eventually(t, fmt.Sprintf("%d requests are admitted", places), func() bool {
		st := s.engine.Stats()
		return st.Busy+st.Queued == places
	})
	_, secret := s.key(t, "one too many", account.Grant{})
	if status, body := s.post(t, secret, chatPath, `{"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}`); status != http.StatusTooManyRequests {
		t.Errorf("beyond all places: status %d, %s", status, body)
	}
	s.held.Store(false)
	for range places {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("a request that was admitted: status %d", status)
		}
	}
}

// report notes the figures.
func report(section string, kinds []kind, results []result, clients int, took time.Duration) {
	ends := map[string]map[string]int{}
	for _, r := range results {
		name := kinds[r.kind].name
		if ends[name] == nil {
			ends[name] = map[string]int{}
		}
		end := "nobody there to see"
		if r.status != 0 {
			end = fmt.Sprint(r.status)
		}
		ends[name][end]++
	}
	figure(section, "requests, clients, kinds", "%d, %d, %d in %v", len(results), clients, len(kinds), took.Round(100*time.Millisecond))
	for _, k := range kinds {
		line := ""
		for _, end := range slices.Sorted(maps.Keys(ends[k.name])) {
			line += fmt.Sprintf("%s: %d; ", end, ends[k.name][end])
		}
		figure(section, k.name, "%s", line)
	}
}

// TestKinds makes sure that the requests of the tests are what they are meant to be.
func TestKinds(t *testing.T) {
	c := &client{random: rand.New(rand.NewPCG(1, 1)), models: fakes}
	for _, k := range slices.Concat(good(), harmful()) {
		if body := k.body(c); !valid(body) {
			t.Errorf("%s: %s", k.name, body)
		}
	}
}
