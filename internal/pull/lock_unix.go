//go:build unix

package pull

import (
	"errors"
	"os"
	"syscall"
)

// lock makes sure that one process at a time fetches a model. The kernel frees the lock of a process that ends. It fails with [ErrBusy].
func lock(path string) (unlock func(), err error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				err = ErrBusy
			}
			return nil, err
		}
		// The one before may have removed the file between the two calls; then another one has that name, or none.
		mine, err := f.Stat()
		if theirs, err2 := os.Stat(path); err == nil && err2 == nil && os.SameFile(mine, theirs) {
			return func() {
				_ = os.Remove(path) // an empty file may stay
				f.Close()
			}, nil
		}
		f.Close()
	}
}
