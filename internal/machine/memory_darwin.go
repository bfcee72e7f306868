package machine

import "golang.org/x/sys/unix"

// memory does not tell what is available: macOS has no such figure, it compresses and swaps before a program hears of it.
func memory() (m Memory) {
	if total, err := unix.SysctlUint64("hw.memsize"); err == nil {
		m.Total = int64(total)
	}
	return m
}
