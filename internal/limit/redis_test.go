package limit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"aim/internal/account"
)

// server is a redis-server of a test's own.
type server struct {
	program, dir, port string
	cmd                *exec.Cmd
}

// startRedis runs a server until the end of the test.
func startRedis(t testing.TB) *server {
	t.Helper()
	s := &server{dir: t.TempDir()}
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			s.program = path
			break
		}
	}
	if s.program == "" {
		t.Skip("neither redis-server nor valkey-server is here: apt-get install redis-server")
	}
	s.start(t)
	t.Cleanup(func() { s.kill() })
	return s
}

// start also starts a server again, on the port it had. Nothing is kept.
func (s *server) start(t testing.TB) {
	t.Helper()
	for range 5 {
		if s.port == "" {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			_, s.port, _ = net.SplitHostPort(l.Addr().String())
			l.Close()
		}
		s.cmd = exec.Command(s.program, "--port", s.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.dir, "--daemonize", "no")
		if err := s.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if s.answers() {
			return
		}
		s.kill()
		s.port = "" // somebody else has it
	}
	t.Fatal("redis-server does not answer")
}

func (s *server) answers() bool {
	for range 400 {
		if c, err := net.Dial("tcp", "127.0.0.1:"+s.port); err == nil {
			defer c.Close()
			answer := make([]byte, 5)
			if _, err := c.Write([]byte("PING\r\n")); err == nil {
				_, err = c.Read(answer)
				return err == nil && string(answer) == "+PONG"
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// kill ends it as kill -9 does.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func (s *server) url() string { return "redis://127.0.0.1:" + s.port }

// open returns a limiter over the server with names of its own, or those of the options.
func (s *server) open(t testing.TB, o Options) *Redis {
	t.Helper()
	o.Wait = max(o.Wait, 2*time.Second) // this machine may be busy
	r, err := NewRedis(s.url(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

var prefixes atomic.Int64

// own is a prefix that no other test has.
func own() string { return fmt.Sprintf("test%d:", prefixes.Add(1)) }

func TestRedis(t *testing.T) {
	s := startRedis(t)
	contract(t, func(t *testing.T, o Options) Limiter {
		o.Prefix = own()
		r := s.open(t, o)
		if o.Now != nil {
			r.clock = func() int64 { return o.Now().UnixMicro() }
		}
		t.Cleanup(func() {
			if !r.Shared() {
				t.Error("Redis was not asked")
			}
		})
		return r
	})
}

// TestRedisMonths: the script's calendar is that of package time.
func TestRedisMonths(t *testing.T) {
	s := startRedis(t)
	r := s.open(t, Options{Prefix: own()})
	g := &account.Grant{TokensPerMonth: 1}
	for year := 1972; year < 2120; year++ {
		for month := time.January; month <= time.December; month++ {
			last := time.Date(year, month+1, 0, 23, 59, 59, 0, time.UTC)
			r.clock = last.UnixMicro
			a, err := r.run(t.Context(), last.String(), g, 1, "", "", seeds{"", "", "", ""})
			if err != nil || !dayNumber(a.month).Equal(monthOf(last)) || !dayNumber(a.day).Equal(dayOf(last)) {
				t.Fatalf("%v: %+v, %v", last, a, err)
			}
			if month == time.December || year%25 > 0 {
				continue // the rest is slow, and the same
			}
			if a, err = r.run(t.Context(), last.String(), g, 1, "", "", seeds{"", "", "", ""}); err != nil || a.what != 5 || a.wait != 1e6 {
				t.Fatalf("%v: %+v, %v", last, a, err)
			}
		}
	}
}

// TestRedisIsShared: two limiters, as two replicas have them, admit what one would, by Redis' own clock.
func TestRedisIsShared(t *testing.T) {
	s := startRedis(t)
	for _, tt := range []struct {
		g    account.Grant
		want int
	}{
		{account.Grant{Concurrency: 37}, 37},
		{account.Grant{TokensPerDay: 500}, 50},
		{account.Grant{TokensPerMonth: 990}, 99},
	} {
		prefix := own()
		a, b := s.open(t, Options{Prefix: prefix}), s.open(t, Options{Prefix: prefix})
		if n := flood(t, &tt.g, 10, a, b); n != tt.want {
			t.Errorf("%+v admits %d of 200, want %d", tt.g, n, tt.want)
		}
	}
	prefix := own()
	a, b := s.open(t, Options{Prefix: prefix}), s.open(t, Options{Prefix: prefix})
	began := time.Now()
	n := flood(t, &account.Grant{RequestsPerMinute: 60}, 10, a, b)
	if most := 60 + int(time.Since(began).Seconds()) + 1; n < 60 || n > most {
		t.Errorf("60 requests per minute admit %d, want 60 to %d", n, most)
	}
}

// TestRedisSeedsOnce: of replicas that ask the ledger at once, the budget is counted once.
func TestRedisSeedsOnce(t *testing.T) {
	s := startRedis(t)
	spent := func(context.Context, string, time.Time) (int64, error) { return 900, nil }
	prefix := own()
	var list []Limiter
	for range 4 {
		list = append(list, s.open(t, Options{Prefix: prefix, Spent: spent}))
	}
	if n := flood(t, &account.Grant{TokensPerDay: 1000, TokensPerMonth: 10_000}, 10, list...); n != 10 {
		t.Errorf("%d were admitted, want 10", n)
	}
}

// TestRedisRestarts: Redis dies and comes back with nothing while requests come. None fails for it, budgets hold all the time, and the log says
// it once each way.
func TestRedisRestarts(t *testing.T) {
	s := startRedis(t)
	var log lockedBuffer
	var spent atomic.Int64
	r := s.open(t, Options{
		Prefix: own(), Retry: 20 * time.Millisecond, Lease: 600 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Spent: func(context.Context, string, time.Time) (int64, error) { return spent.Load(), nil },
	})
	g := &account.Grant{TokensPerDay: 3000, Concurrency: 1000}
	serve := func(n int) (admitted int) {
		t.Helper()
		for range n {
			h, _, err := r.Take(t.Context(), "k", g, 5)
			if errors.As(err, new(*Refused)) {
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			spent.Add(10) // as the ledger is told
			h.Settle(t.Context(), 10)
			admitted++
		}
		return admitted
	}
	long := admit(t, r, "k", g, 0)
	total := serve(50)
	s.kill()
	total += serve(100)
	if r.Shared() {
		t.Error("limits are said to be shared without Redis")
	}
	s.start(t)
	for range 1000 {
		if total += serve(1); r.Shared() {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !r.Shared() {
		t.Fatal("it never came back")
	}
	r.renewAll()
	if n, err := r.client.ZCard(t.Context(), r.names("k")[1]).Result(); err != nil || n != 1 {
		t.Errorf("%d leases after the restart, error %v; want that of the request that runs", n, err)
	}
	long.Settle(t.Context(), 0)
	if total += serve(400); total < 299 || total > 300 {
		t.Errorf("%d requests of 10 tokens were admitted under a budget of 3000", total)
	}
	if text := log.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "this replica alone") || !strings.Contains(text, "shared again") {
		t.Errorf("the log: %s", text)
	}
}

// TestRedisPauses: Redis stops answering and goes on with what it knew, which lacks what was spent meanwhile. The budget holds, also when it stops again.
func TestRedisPauses(t *testing.T) {
	s := startRedis(t)
	var spent atomic.Int64
	r, err := NewRedis(s.url(), Options{
		Prefix: own(), Wait: 200 * time.Millisecond, Retry: 20 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Spent: func(context.Context, string, time.Time) (int64, error) { return spent.Load(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	g := &account.Grant{TokensPerDay: 3000}
	total := 0
	serve := func(n int) {
		t.Helper()
		for range n {
			h, _, err := r.Take(t.Context(), "k", g, 10)
			if errors.As(err, new(*Refused)) {
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			spent.Add(10)
			h.Settle(t.Context(), 10)
			total++
		}
	}
	send := func(sig os.Signal) {
		t.Helper()
		if err := s.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	serve(50)
	send(syscall.SIGSTOP)
	serve(100)
	if r.Shared() || total != 150 {
		t.Errorf("shared: %v, %d requests were admitted, want 150", r.Shared(), total)
	}
	send(syscall.SIGCONT)
	for range 1000 {
		if serve(1); r.Shared() {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	serve(300)
	// What was sent before it stopped is done when it goes on, and nobody settles that.
	if !r.Shared() || total > 300 || total < 280 {
		t.Errorf("shared: %v, %d requests were admitted under a budget for 300", r.Shared(), total)
	}
	before := total
	send(syscall.SIGSTOP)
	serve(100)
	if r.Shared() || total > 300 {
		t.Errorf("shared: %v, %d more requests were admitted when it stopped again", r.Shared(), total-before)
	}
}

// TestRedisLeases: requests of a replica that was killed end with their leases; those of one that lives do not.
func TestRedisLeases(t *testing.T) {
	s := startRedis(t)
	prefix := own()
	g := &account.Grant{Concurrency: 3}
	o := Options{Prefix: prefix, Lease: 900 * time.Millisecond}
	r := s.open(t, o)
	mine := admit(t, r, "k", g, 0)

	child := exec.Command(os.Args[0], "-test.run=^TestReplica$")
	child.Env = append(os.Environ(), "LIMIT_TEST_REDIS="+s.url(), "LIMIT_TEST_PREFIX="+prefix)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, 5)
	if _, err := out.Read(ready); err != nil || string(ready) != "ready" {
		t.Fatalf("%q, %v", ready, err)
	}
	time.Sleep(2 * o.Lease) // all are renewed
	refuse(t, r, "k", g, 0, Concurrency)
	_ = child.Process.Kill()
	_ = child.Wait()
	free := 0
	for range 1000 {
		if _, _, err := r.Take(t.Context(), "k", g, 0); err == nil {
			free++
		}
		if free == 2 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if free != 2 {
		t.Fatalf("%d places became free, want 2", free)
	}
	time.Sleep(o.Lease)
	refuse(t, r, "k", g, 0, Concurrency) // mine is still there
	mine.Settle(t.Context(), 0)
	admit(t, r, "k", g, 0)
}

// TestReplica is the other replica of TestRedisLeases.
func TestReplica(t *testing.T) {
	url := os.Getenv("LIMIT_TEST_REDIS")
	if url == "" {
		t.Skip("a part of TestRedisLeases")
	}
	r, err := NewRedis(url, Options{Prefix: os.Getenv("LIMIT_TEST_PREFIX"), Lease: 900 * time.Millisecond, Wait: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	g := &account.Grant{Concurrency: 3}
	admit(t, r, "k", g, 0)
	admit(t, r, "k", g, 0)
	os.Stdout.WriteString("ready")
	select {} // until it is killed
}

// TestRedisHangs: a server that takes connections and says nothing holds nobody up for longer than Wait, once.
func TestRedisHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var log lockedBuffer
	r, err := NewRedis("redis://:hunter2@"+l.Addr().String(), Options{
		Wait: 50 * time.Millisecond, Retry: time.Hour, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	g := &account.Grant{Concurrency: 100, TokensPerDay: 1000}
	if n := flood(t, g, 1, r); n != 100 {
		t.Errorf("%d were admitted, want 100", n)
	}
	if r.Shared() {
		t.Error("limits are said to be shared")
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || strings.Contains(text, "hunter2") {
		t.Errorf("the log: %s", text)
	}
}

func TestRedisURL(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:6379", "http://:hunter2@x", "redis://:hunter2@x:port/\x00"} {
		if _, err := NewRedis(url, Options{}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// lockedBuffer is what a log is written to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
