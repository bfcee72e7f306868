package ledger

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"aim/internal/account"
)

const insideVariable = "AIM_LEDGER_MOUNTS"

// onSmallDisk runs a test with the folder of a small file system, and with a function that enlarges it. It does so in a process whose mounts are
// its own, so that none is left behind.
func onSmallDisk(t *testing.T, f func(dir string, enlarge func())) {
	t.Helper()
	if os.Getenv(insideVariable) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
		cmd.WaitDelay = time.Second
		cmd.Env = append(os.Environ(), insideVariable+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		if uid := os.Getuid(); uid != 0 {
			cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
		out, err := cmd.CombinedOutput()
		switch {
		case errors.Is(err, os.ErrPermission):
			t.Skip("this machine lets us mount nothing: run the test as root, or allow user namespaces")
		case err != nil:
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("%s", out)
		return
	}
	dir := t.TempDir()
	if err := syscall.Mount("small", dir, "tmpfs", 0, "size=3m"); errors.Is(err, os.ErrPermission) {
		t.Skip("this machine lets us mount nothing")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	f(dir, func() {
		if err := syscall.Mount("small", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
			t.Fatal(err)
		}
	})
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
