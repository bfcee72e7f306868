package faults

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aim/internal/account"
	"aim/internal/testdisk"
)

// onSmallDisk runs a test on a disk that is soon full, in another process. What that prints of figures is noted here.
func onSmallDisk(t *testing.T, section string, f func(dir string)) {
	t.Helper()
	out := testdisk.Small(t, 16, 2*time.Minute, func(dir string, _ func(int)) {
		f(dir)
		fmt.Print(lines(section))
	})
	for line := range bytes.Lines(out) {
		if what, value, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(string(line), "figure: ")), "\t"); ok && strings.HasPrefix(string(line), "figure: ") {
			figure(section, what, "%s", value)
		}
	}
}

// lines are the figures of a section as another process reads them.
func lines(section string) string {
	figures.Lock()
	defer figures.Unlock()
	var b strings.Builder
	for _, r := range figures.rows[section] {
		fmt.Fprintf(&b, "figure: %s\t%s\n", r[0], r[1])
	}
	return b.String()
}

const diskSection = "Full disk"

// TestFullDisk: while neither database nor journal can be written, the server refuses new work; what it answered is in the accounts once there is room,
// and then it answers again.
func TestFullDisk(t *testing.T) {
	onSmallDisk(t, diskSection, func(dir string) { fullDisk(t, dir) })
}

func fullDisk(t *testing.T, dir string) {
	s := open(t, options{slots: 8, queue: 64, dsn: filepath.Join(dir, "aim.db")})
	const body = `{"messages": [{"role": "user", "content": "x"}], "max_tokens": 4}`
	var answered, refused atomic.Int64
	var over atomic.Bool
	var all sync.WaitGroup
	for n := range 16 {
		_, secret := s.key(t, fmt.Sprint("key ", n), account.Grant{})
		all.Go(func() {
			for !over.Load() {
				switch status, text, err := ask(s.url, secret, chatPath, body); {
				case err == nil && status == http.StatusOK:
					answered.Add(1)
				case err == nil && status == http.StatusServiceUnavailable && strings.Contains(text, `"accounts_unavailable"`):
					refused.Add(1)
					time.Sleep(5 * time.Millisecond)
				default:
					t.Errorf("status %d, %v: %s", status, err, text)
					return
				}
			}
		})
	}
	rises := func(what string, n *atomic.Int64) {
		before := n.Load()
		eventually(t, what, func() bool { return n.Load() > before+50 || t.Failed() })
	}
	for round := range pick(1, 4) {
		rises("requests are answered", &answered)
		filler := filepath.Join(dir, "filler")
		fill(t, filler)
		rises(fmt.Sprintf("round %d: requests are refused on a full disk", round), &refused)
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		rises(fmt.Sprintf("round %d: requests are answered again", round), &answered)
	}
	over.Store(true)
	all.Wait()
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
	if lost := s.ledger.Status().Lost; ok != int(answered.Load()) || total != int(answered.Load()+refused.Load()) || lost != 0 {
		t.Errorf("%d answers and %d refusals; the ledger has %d and %d, and lost %d", answered.Load(), refused.Load(), ok, total-ok, lost)
	}
	figure(diskSection, "times that the disk was full", "%d", pick(1, 4))
	figure(diskSection, "answers, and of them in the accounts once", "%d, %d", answered.Load(), ok)
	figure(diskSection, "refusals with 503 accounts_unavailable", "%d", refused.Load())
}

// fill fills the disk to its last byte.
func fill(t *testing.T, path string) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}
