package testdisk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Small runs a test with the folder of a file system of so many MiB, and a function that changes its size. It does so in a process whose mounts are
// its own, so that none is left behind, within limit, and returns what that printed; in that process it returns nil. Where nothing can be mounted the
// test is skipped.
func Small(t *testing.T, mib int, limit time.Duration, f func(dir string, resize func(mib int))) []byte {
	t.Helper()
	if Inside() {
		dir := t.TempDir()
		if err := mount(dir, 0, mib); errors.Is(err, os.ErrPermission) {
			t.Skip("this machine lets us mount nothing")
		} else if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		})
		f(dir, func(mib int) {
			if err := mount(dir, syscall.MS_REMOUNT, mib); err != nil {
				t.Fatal(err)
			}
		})
		return nil
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+limit.String())
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), inside+"=1")
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
	return out
}

func mount(dir string, flags uintptr, mib int) error {
	return syscall.Mount("small", dir, "tmpfs", flags, fmt.Sprintf("size=%dm", mib))
}
