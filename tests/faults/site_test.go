package faults

import (
	"context"
	"database/sql"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aim/internal/account"
	"aim/internal/chat"
	"aim/internal/edge"
	"aim/internal/ledger"
	"aim/internal/limit"
	"aim/internal/measure"
	"aim/llama"
	"aim/llama/llamatest"
	"aim/server"
)

// patience is how long the servers of these tests wait for a client to read or write.
const patience = time.Second

// options are what a test changes about its server.
type options struct {
	slots, queue int
	// dsn is that of the accounts; default a SQLite file. spool is the folder of journals, where it is another.
	dsn, spool string
	// redis is the URL of shared limits, "" for limits of the process.
	redis string
	// now is the clock of accounts and limits; default time.Now.
	now func() time.Time
	// pause is how long a decode takes at least.
	pause time.Duration
}

// site is a whole server over the fake model: edge, API, limits and accounts.
type site struct {
	url, addr string
	dsn       string
	size      llama.Config
	engine    *llama.Engine
	ledger    *ledger.Ledger
	seen      *observer
	held      atomic.Bool // no decode ends
}

// observer notes each request that the server saw, by the name its client gave it.
type observer struct {
	mu   sync.Mutex
	list map[string][]measure.Request
}

// Observe implements [server.Observer].
func (o *observer) Observe(r *measure.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list[r.ID] = append(o.list[r.ID], *r)
}

// of is what was seen of a request.
func (o *observer) of(id string) []measure.Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.list[id]
}

// clear forgets what was seen.
func (o *observer) clear() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = map[string][]measure.Request{}
}

// template is that of the fake: a control token ends the prompt.
const template = `{% for m in messages %}[{{ m.role }}]{{ m.content or '' }}{% endfor %}<|ctl|>`

// quiet is a log that nobody reads.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// open starts a server until the test ends.
func open(t testing.TB, o options) *site {
	t.Helper()
	s := &site{dsn: o.dsn, size: llama.Config{Slots: o.slots, Queue: o.queue, Context: 256, Batch: 64, NoCache: true}, seen: &observer{list: map[string][]measure.Request{}}}
	s.run(t, o)
	if s.dsn == "" {
		s.dsn = filepath.Join(t.TempDir(), "aim.db")
	}
	if o.spool == "" && !strings.Contains(s.dsn, "://") {
		o.spool = filepath.Dir(s.dsn)
	} else if o.spool == "" {
		o.spool = t.TempDir()
	}
	var err error
	s.ledger, err = ledger.Open(t.Context(), s.dsn, ledger.Options{Spool: o.spool, Retry: 200 * time.Millisecond, Log: quiet(), Now: o.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.ledger.Close(); err != nil {
			t.Error(err)
		}
	})
	limits := limit.Limiter(limit.NewLocal(limit.Options{Spent: s.ledger.Spent, Log: quiet(), Now: o.now}))
	if o.redis != "" {
		shared, err := limit.NewRedis(o.redis, limit.Options{Spent: s.ledger.Spent, Log: quiet(), Now: o.now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = shared.Close() })
		limits = shared
	}
	s.serve(t, limits)
	return s
}

// run runs the engine.
func (s *site) run(t testing.TB, o options) {
	fake := llamatest.New()
	decoder := llamatest.NewDecoder(fake, llamatest.Options{
		Slots: o.slots, Context: s.size.Context, Batch: s.size.Batch,
		Before: func([]llama.Row) error {
			for s.held.Load() {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(o.pause)
			return nil
		},
	})
	s.engine = llama.New(fake, decoder, s.size)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1) // buffered: Run's result is there whether or not anybody waits for it
	go func() { ended <- s.engine.Run(ctx) }()
	t.Cleanup(func() {
		s.held.Store(false)
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// tiers are what the engine is offered as.
func (s *site) tiers(t testing.TB) []server.Model {
	compiled, err := chat.Compile(template, chat.Options{Specials: []string{"<|bos|>", "<|end|>", "<|ctl|>"}})
	if err != nil {
		t.Fatal(err)
	}
	base := server.Model{
		ID: "fake", Base: "fake", Engine: s.engine, Template: compiled, BOS: "<|bos|>", EOS: "<|end|>", Created: time.Unix(1700000000, 0),
		Embedder: llamatest.NewEmbedder(llamatest.New()),
	}
	standard, lite := base, base
	standard.ID, standard.Sigma, standard.Embedder = "fake-standard", 0.5, nil
	lite.ID, lite.Sigma, lite.Embedder = "fake-lite", 2, nil
	lite.Policy = server.Policy{MaxTokens: 64, NoLogprobs: true}
	return []server.Model{base, standard, lite}
}

// serve answers on loopback.
func (s *site) serve(t testing.TB, limits limit.Limiter) {
	api, err := server.New(server.Config{
		Serving: server.Serving{Models: s.tiers(t), Secret: []byte("of the tests, thirty-two bytes long")}, Log: quiet(), MaxBody: 64 << 10,
		KeepAlive: 200 * time.Millisecond, Patience: patience, Keys: s.ledger, Limits: limits, Ledger: s.ledger, Admin: s.ledger,
		ClientAddr: edge.ClientAddr, Observers: []server.Observer{s.seen},
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := edge.NewServer(edge.New(edge.Settings{}).Handler(api.Handler()), edge.Limits{HeaderTimeout: patience}, quiet())
	web.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if counted, ok := c.(interface{ SetWriteBuffer(int) error }); ok {
			_ = counted.SetWriteBuffer(8 << 10) // so that a client that does not read is soon noticed
		}
		return ctx
	}
	go func() { _ = web.Serve(edge.Cap(listener, edge.Caps{Total: 4096, PerAddress: 256}, quiet())) }()
	s.addr = listener.Addr().String()
	s.url = "http://" + s.addr
	t.Cleanup(func() {
		s.held.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := web.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
			_ = web.Close()
		}
	})
}

// key makes a key and returns it with its secret.
func (s *site) key(t testing.TB, name string, g account.Grant) (account.Key, string) {
	t.Helper()
	key, secret, err := s.ledger.CreateKey(t.Context(), name, time.Time{}, g)
	if err != nil {
		t.Fatal(err)
	}
	return key, secret
}

// post asks as a client without faults does, and reads the answer to its end.
func (s *site) post(t testing.TB, secret, path, body string) (status int, text string) {
	t.Helper()
	status, text, err := ask(s.url, secret, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return status, text
}

// calm is a client without faults.
var calm = &http.Client{Timeout: tooLong, Transport: &http.Transport{MaxIdleConnsPerHost: 512, MaxConnsPerHost: 1024}}

// ask sends a request and reads all of its answer.
func ask(url, secret, path, body string) (status int, text string, err error) {
	req, err := http.NewRequest(http.MethodPost, url+path, strings.NewReader(body)) //nolint:noctx // the client has a time limit
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	res, err := calm.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return res.StatusCode, string(data), err
}

// row is a record of usage, but for what nobody can foresee.
type row struct {
	key, endpoint      string
	status             int
	code               string
	prompt, completion int
}

// records are the rows of the ledger, how often each is there.
func records(t testing.TB, dsn string) (rows map[row]int, total int) {
	t.Helper()
	driver := "sqlite"
	if strings.Contains(dsn, "://") {
		driver = "pgx"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	list, err := db.QueryContext(t.Context(), `SELECT key_id, endpoint, status, code, prompt_tokens, completion_tokens FROM aim_usage`)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	rows = map[row]int{}
	for list.Next() {
		var r row
		if err := list.Scan(&r.key, &r.endpoint, &r.status, &r.code, &r.prompt, &r.completion); err != nil {
			t.Fatal(err)
		}
		rows[r]++
		total++
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return rows, total
}
