package ledger

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"aim/internal/account"
	"aim/internal/testdisk"
)

// onSmallDisk runs a test on a disk that is soon full, and can be enlarged.
func onSmallDisk(t *testing.T, f func(dir string, enlarge func())) {
	t.Helper()
	out := testdisk.Small(t, 3, time.Minute, func(dir string, resize func(mib int)) { f(dir, func() { resize(64) }) })
	t.Logf("%s", out)
}

func TestFullDisk(t *testing.T) {
	onSmallDisk(t, func(dir string, enlarge func()) { fullDisk(t, dir, enlarge) })
}

func fullDisk(t *testing.T, dir string, enlarge func()) {
	l := open(t, filepath.Join(dir, "aim.db"), Options{Spool: dir})
	want := map[string]bool{}
	acknowledged, refused := 0, 0
	for i := 0; refused < 50; i++ {
		id := fmt.Sprint(i)
		switch err := l.Record(t.Context(), usage(id)); {
		case err == nil:
			acknowledged++
		case errors.Is(err, ErrVolatile):
			refused++
		default:
			t.Fatal(err)
		}
		want[id] = true
	}
	if err := l.Healthy(); !errors.Is(err, ErrVolatile) || !errors.Is(err, account.ErrUnavailable) || acknowledged < 100 {
		t.Errorf("healthy: %v, after %d records", l.Healthy(), acknowledged)
	}
	enlarge()
	eventually(t, "all is in the database", func() bool { return !l.waiting() && l.Healthy() == nil })
	if got := requests(t, l); !maps.Equal(got, want) {
		t.Errorf("%d requests, want %d", len(got), len(want))
	}
}

func TestKilledOnAFullDisk(t *testing.T) {
	onSmallDisk(t, func(dir string, enlarge func()) { killedOnAFullDisk(t, dir, enlarge) })
}

func killedOnAFullDisk(t *testing.T, dir string, enlarge func()) {
	dsn := filepath.Join(dir, "aim.db")
	acknowledged := killed(t, dsn, dir, func(out *os.File) {
		var size int64
		since := time.Now()
		eventually(t, "the disk is so full that nothing more is acknowledged", func() bool {
			info, err := out.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if info.Size() > size {
				size, since = info.Size(), time.Now()
			}
			return time.Since(since) > 300*time.Millisecond
		})
	})
	enlarge()
	l := open(t, dsn, Options{Spool: dir})
	eventually(t, "all is in the database", func() bool { return !l.waiting() })
	containsAll(t, l, acknowledged)
	t.Logf("%d records were acknowledged", len(acknowledged))
}
