//go:build !unix

package main

import "os"

// hangup tells of nothing: this system has no SIGHUP.
func hangup() (signals <-chan os.Signal, stop func()) { return nil, func() {} }
