package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ticks are processor times as Linux counts them since its start, in its unit: of everything, and of that what was not idle.
type ticks struct{ total, busy float64 }

// meter tells how much of the processors' time went to neither the server nor us: what disturbs a measurement. Where the system
// does not tell, it stays silent.
type meter struct {
	// The files to read: of all processors, of this process and of the server.
	system, self, server string

	ok    bool
	begin ticks
	ours  float64
}

// startMeter begins to measure beside a server that has just been started.
func startMeter(pid int) *meter {
	m := &meter{system: "/proc/stat", self: "/proc/self/stat", server: fmt.Sprintf("/proc/%d/stat", pid)}
	m.start()
	return m
}

func (m *meter) start() {
	var known, self bool
	m.begin, known = systemTicks(m.system)
	m.ours, self = processTicks(m.self)
	m.ok = known && self
}

// others is the share of all processors' time that others took so far, time stolen by a hypervisor included; -1 where it is
// not known. The server must not have ended.
func (m *meter) others() float64 {
	now, known := systemTicks(m.system)
	ours, self := processTicks(m.self)
	server, alive := processTicks(m.server)
	if total := now.total - m.begin.total; m.ok && known && self && alive && total > 0 {
		// Ticks are counted in two ways, so that a small difference can come out negative.
		return max(0, (now.busy-m.begin.busy)-(ours-m.ours)-server) / total
	}
	return -1
}

// systemTicks reads the first line of /proc/stat: cpu user nice system idle iowait irq softirq steal, and what these include.
func systemTicks(path string) (t ticks, ok bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return t, false
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return t, false
	}
	for i, f := range fields[1:9] {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return t, false
		}
		t.total += n
		if idle, waiting := 3, 4; i != idle && i != waiting {
			t.busy += n
		}
	}
	return t, true
}

// processTicks reads what a process has used, in itself and in the kernel: utime and stime of /proc/PID/stat, the 12th and the
// 13th field behind the name, which stands in parentheses and can hold anything.
func processTicks(path string) (used float64, ok bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0, false
	}
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, false
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	return user + system, err == nil
}
