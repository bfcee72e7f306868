//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// hangup tells of SIGHUP until stop is called.
func hangup() (signals <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1) // one that waits is enough: a reload reads everything
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}
