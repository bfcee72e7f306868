package bench

import (
	"bufio"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Machine is what figures depend on beside the program.
type Machine struct {
	System string `json:"system"`
	// Processor is its model, Cores the number of logical processors, Features the instruction sets that matter here.
	Processor string   `json:"processor"`
	Cores     int      `json:"cores"`
	Features  []string `json:"features"`
	// Memory in bytes, 0 where unknown.
	Memory float64 `json:"memory"`
}

// known are the instruction sets whose kernels llama.cpp has, as /proc/cpuinfo calls them on x86 and Arm.
var known = []string{
	"avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8",
	"asimddp", "i8mm", "sve", "sve2", "bf16",
}

// ThisMachine describes the machine by what Linux tells; elsewhere it knows less.
func ThisMachine() Machine {
	m := Machine{System: runtime.GOOS + "/" + runtime.GOARCH, Processor: "unknown", Cores: runtime.NumCPU()}
	m.read("/proc/cpuinfo", "/proc/meminfo")
	return m
}

func (m *Machine) read(cpuinfo, meminfo string) {
	fields(cpuinfo, func(key, value string) bool {
		switch key {
		case "model name":
			m.Processor = value
		case "flags", "Features":
			has := strings.Fields(value)
			m.Features = nil
			for _, f := range known {
				if slices.Contains(has, f) {
					m.Features = append(m.Features, f)
				}
			}
			return false // the other processors are like the first
		}
		return true
	})
	fields(meminfo, func(key, value string) bool {
		if key != "MemTotal" {
			return true
		}
		kib, err := strconv.ParseFloat(strings.TrimSuffix(value, " kB"), 64)
		if err == nil {
			m.Memory = kib * 1024
		}
		return false
	})
}

// fields calls yield with the lines "key: value" of a file, if it is there, until that returns false.
func fields(path string, yield func(key, value string) bool) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, found := strings.Cut(lines.Text(), ":")
		if found && !yield(strings.TrimSpace(key), strings.TrimSpace(value)) {
			return
		}
	}
}

// Busy is the number of processes that want a core, averaged over the last minute: what disturbs a measurement. It is
// negative where the system does not tell.
func Busy() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return -1
	}
	first, _, _ := strings.Cut(string(text), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return -1
	}
	return load
}
