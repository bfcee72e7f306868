package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"aim/internal/ledger"
	"aim/internal/testmodel"
	"aim/internal/testpostgres"

	"aim/internal/account"
)

// tiny is a configuration of one small model; three places are for the folder, the database and the model.
const tiny = `version: 1
server:
  address: 127.0.0.1:0
  %%s
  log: {level: warn, format: json}
accounts:
  database: %q
state_dir: %q
models:
  tiny:
    file: %q
    slots: 8
    queue: 64
    context: 128
`

// TestKilledWhileWriting: whoever received an answer is in the accounts, once, although the program is killed at any time.
func TestKilledWhileWriting(t *testing.T) {
	binary(t)
	t.Run("SQLite", func(t *testing.T) {
		dir := t.TempDir()
		killed(t, "SQLite", dir, filepath.Join(dir, "aim.db"), pick(2, 12))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		killed(t, "PostgreSQL", t.TempDir(), testpostgres.Start(t).Database(t), pick(1, 4))
	})
}

func killed(t *testing.T, database, dir, dsn string, rounds int) {
	l, err := ledger.Open(t.Context(), dsn, ledger.Options{Spool: dir, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	var keys []keyed
	for i := range 12 {
		key, secret, err := l.CreateKey(t.Context(), fmt.Sprint("key ", i), time.Time{}, account.Grant{})
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, keyed{id: key.ID, secret: secret})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(tiny, dsn, dir, testmodel.TinyLlama(1).Write(t))
	received, cut := make([]int, len(keys)), make([]int, len(keys))
	random := rand.New(rand.NewPCG(3, 3))
	for range rounds {
		p := start(t, dir, config)
		var over atomic.Bool
		var answers atomic.Int64
		enough := int64(40 + random.IntN(200))
		r, c := hammer(p.url, keys, over.Load, func() {
			if answers.Add(1) == enough {
				over.Store(true) // for those who would ask anew; the others are cut off
				p.kill()
			}
		})
		if answers.Load() < enough {
			t.Fatalf("%d answers, and no more\n%s", answers.Load(), p.logged())
		}
		for i := range keys {
			received[i], cut[i] = received[i]+r[i], cut[i]+c[i]
		}
		calm.CloseIdleConnections()
	}
	// What the last one left in a journal is taken over by the next.
	p := start(t, dir, config)
	if status, text, err := ask(p.url, keys[0].secret, textPath, `{"prompt": "x", "max_tokens": 2}`); err != nil || status != http.StatusOK {
		t.Fatalf("after all: status %d, %v: %s", status, err, text)
	}
	received[0]++
	p.kill()
	rows, total := records(t, dsn)
	recorded := map[string]int{}
	for r, n := range rows {
		recorded[r.key] += n
	}
	sum, missing := 0, 0
	for i, k := range keys {
		sum += received[i]
		missing += received[i] + cut[i] - recorded[k.id]
		if n := recorded[k.id]; n < received[i] || n > received[i]+cut[i] || cut[i] > rounds {
			t.Errorf("client %d received %d answers in full and was cut off %d times; %d requests are in the accounts", i, received[i], cut[i], n)
		}
	}
	section := "kill -9 while writing, " + database
	figure(section, "times killed, clients", "%d, %d", rounds, len(keys))
	figure(section, "answers received in full, of them in the accounts once", "%d, %d", sum, sum)
	figure(section, "requests cut off, of them in the accounts", "%d, %d", sum2(cut), sum2(cut)-missing)
	figure(section, "records in all", "%d", total)
}

func sum2(list []int) (n int) {
	for _, v := range list {
		n += v
	}
	return n
}
