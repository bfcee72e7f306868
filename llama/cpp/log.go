package cpp

// #include "shim.h"
import "C"

import (
	"context"
	"log/slog"
	"runtime/cgo"
	"strings"
	"sync"
	"sync/atomic"
)

// logger receives llama.cpp's log; nil means slog.Default().
var logger atomic.Pointer[slog.Logger]

// SetLogger sends llama.cpp's log to l. Its errors stay errors; its warnings and what it calls information, dozens of
// lines for each load, are debug output here.
func SetLogger(l *slog.Logger) { logger.Store(l) }

// lines joins the fragments that llama.cpp logs into lines. Its threads log at the same time, hence the lock.
var lines struct {
	sync.Mutex
	level   slog.Level
	partial strings.Builder
	// errors collects the error lines of a load in progress, and warnings the warnings as well; nil otherwise.
	errors, warnings *[]string
	warning          bool
}

//export aimLog
func aimLog(level C.int, text *C.char) {
	s := C.GoString(text)
	lines.Lock()
	defer lines.Unlock()
	if level != C.GGML_LOG_LEVEL_CONT {
		lines.level, lines.warning = slog.LevelDebug, level == C.GGML_LOG_LEVEL_WARN
		if level == C.GGML_LOG_LEVEL_ERROR {
			lines.level = slog.LevelError
		}
	}
	for {
		line, rest, complete := strings.Cut(s, "\n")
		lines.partial.WriteString(line)
		if !complete {
			return
		}
		emit(lines.level, strings.TrimSpace(lines.partial.String()))
		lines.partial.Reset()
		s = rest
	}
}

// emit logs a line, or keeps it for the error of the load in progress.
func emit(level slog.Level, line string) {
	if line == "" {
		return
	}
	if level == slog.LevelError && lines.errors != nil {
		*lines.errors = append(*lines.errors, line)
		return
	}
	if lines.warning && lines.warnings != nil {
		*lines.warnings = append(*lines.warnings, line)
	}
	l := logger.Load()
	if l == nil {
		l = slog.Default()
	}
	l.Log(context.Background(), level, line, "from", "llama.cpp")
}

// collectErrors runs f and returns the error lines that llama.cpp logged meanwhile.
func collectErrors(f func()) []string { return collect(&lines.errors, f) }

// collectWarnings runs f and returns the warnings that llama.cpp logged meanwhile.
func collectWarnings(f func()) []string { return collect(&lines.warnings, f) }

func collect(place **[]string, f func()) (found []string) {
	set := func(to *[]string) {
		lines.Lock()
		*place = to
		lines.Unlock()
	}
	set(&found)
	defer set(nil)
	f()
	return found
}

//export aimProgress
func aimProgress(fraction C.float, handle C.uintptr_t) C.bool {
	cgo.Handle(handle).Value().(func(float64))(float64(fraction))
	return true
}
