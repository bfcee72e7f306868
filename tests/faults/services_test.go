package faults

import (
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aim/internal/account"
	"aim/internal/testpostgres"
)

// redis is a redis-server of a test's own, which forgets all when it ends.
type redis struct {
	program, dir, port string
	cmd                *exec.Cmd
}

func startRedis(t *testing.T) *redis {
	t.Helper()
	r := &redis{dir: t.TempDir()}
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			r.program = path
			break
		}
	}
	if r.program == "" {
		t.Skip("neither redis-server nor valkey-server is here: scripts/deps services installs it")
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, r.port, _ = net.SplitHostPort(l.Addr().String())
	_ = l.Close() // the port is what counts
	r.start(t)
	t.Cleanup(r.kill)
	return r
}

func (r *redis) start(t *testing.T) {
	t.Helper()
	r.cmd = exec.Command(r.program, "--port", r.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", r.dir) //nolint:noctx // kill ends it
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "redis-server answers", func() bool {
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+r.port, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// kill ends it as kill -9 does.
func (r *redis) kill() {
	if r.cmd != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		r.cmd = nil
	}
}

const servicesSection = "PostgreSQL and Redis go away and come back"

// TestServicesGoAway: while PostgreSQL, Redis or both are away, keys that are known go on, limits go on in the process, no request hangs or fails for
// it, and afterwards all usage is in the database once.
func TestServicesGoAway(t *testing.T) {
	if !full() && testing.Short() {
		t.Skip("it starts PostgreSQL and Redis")
	}
	postgres, redis := testpostgres.Start(t), startRedis(t)
	s := open(t, options{slots: 8, queue: 128, pause: time.Millisecond, dsn: postgres.Database(t), redis: "redis://127.0.0.1:" + redis.port})
	l := &load{t: t, s: s}
	_, rated := s.key(t, "rated", account.Grant{RequestsPerMinute: 10})
	for n := range 16 {
		_, secret := s.key(t, fmt.Sprint("free ", n), account.Grant{Concurrency: 50})
		l.run(secret, false)
	}
	l.run(rated, true)
	l.passes("all is well")
	fresh := "aim-" + strings.Repeat("y", 43) // never seen
	for range pick(1, 3) {
		postgres.Stop(t)
		l.passes("PostgreSQL is away")
		if status, text := s.post(t, fresh, chatPath, little); status != http.StatusServiceUnavailable || !strings.Contains(text, "accounts_unavailable") {
			t.Errorf("a key that nobody can tell about: status %d, %s", status, text)
		}
		postgres.Restart(t)
		l.passes("PostgreSQL is back")
		redis.kill()
		l.passes("Redis is away")
		redis.start(t)
		l.passes("Redis is back")
		postgres.Stop(t)
		redis.kill()
		l.passes("both are away")
		postgres.Restart(t)
		redis.start(t)
		l.passes("both are back")
	}
	took := l.end()
	eventually(t, "all is in the database", func() bool {
		st := s.ledger.Status()
		return st.Database == nil && st.Spooled == 0 && st.Volatile == 0
	})
	rows, total := records(t, s.dsn)
	ok := 0
	for r, n := range rows {
		if r.status == http.StatusOK {
			ok += n
		}
	}
	// The stranger's requests are nobody's.
	if want := l.answered.Load() + l.rated.Load(); ok != int(want) || total != int(want+l.refused.Load()) {
		t.Errorf("%d answers and %d refusals; the ledger has %d and %d", want, l.refused.Load(), ok, total-ok)
	}
	// Redis forgets when it dies, and the process counts anew while it is away: each time one more minute's worth, beside what time allows.
	if most := int64(float64(10*(1+4*pick(1, 3))) + took.Minutes()*10); l.rated.Load() > most || l.refused.Load() == 0 {
		t.Errorf("the rate of 10 let %d through in %v, refused %d; want at most %d", l.rated.Load(), took, l.refused.Load(), most)
	}
	figure(servicesSection, "times that PostgreSQL, Redis and both were away", "%d", pick(1, 3))
	figure(servicesSection, "answers of keys without a rate; 5xx among them", "%d; 0", l.answered.Load())
	figure(servicesSection, "answers and refusals (429) of a key with 10 requests per minute", "%d, %d in %v", l.rated.Load(), l.refused.Load(), took.Round(time.Second))
	figure(servicesSection, "records of usage afterwards", "%d, each request once", total)
}

// little is a small request.
const little = `{"messages": [{"role": "user", "content": "x"}], "max_tokens": 4}`

// load is requests without end.
type load struct {
	t                        *testing.T
	s                        *site
	began                    time.Time
	answered, rated, refused atomic.Int64
	over                     atomic.Bool
	all                      sync.WaitGroup
}

// run asks with a key until the end; a rated one may be refused.
func (l *load) run(secret string, rated bool) {
	if l.began.IsZero() {
		l.began = time.Now()
	}
	l.all.Go(func() {
		for !l.over.Load() {
			switch status, text, err := ask(l.s.url, secret, chatPath, little); {
			case err == nil && status == http.StatusOK && rated:
				l.rated.Add(1)
			case err == nil && status == http.StatusOK:
				l.answered.Add(1)
			case err == nil && status == http.StatusTooManyRequests && rated:
				l.refused.Add(1)
				time.Sleep(10 * time.Millisecond)
			default:
				l.t.Errorf("status %d, %v: %s", status, err, text)
				return
			}
		}
	})
}

// passes waits until 200 more were answered, and some time has passed in which others may fail.
func (l *load) passes(when string) {
	const n = 200
	l.t.Helper()
	before, began := l.answered.Load(), time.Now()
	least := time.Duration(pick(100, 2000)) * time.Millisecond
	eventually(l.t, fmt.Sprintf("%s, and %d requests are answered", when, n), func() bool {
		return l.answered.Load() >= before+n && time.Since(began) >= least || l.t.Failed()
	})
}

func (l *load) end() time.Duration {
	l.over.Store(true)
	l.all.Wait()
	return time.Since(l.began)
}
