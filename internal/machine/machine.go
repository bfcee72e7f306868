// Package machine tells what the machine gives a program: processors and memory, and the limits of its control group.
package machine

import (
	"os"
	"runtime"

	"github.com/klauspost/cpuid/v2"
)

// CPU is what there is to compute with.
type CPU struct {
	// Name is what the processor calls itself, "" where it does not.
	Name string `json:"name"`
	// Cores are physical ones, 0 where that is not known; Threads are those of them that the operating system lets the program use.
	Cores   int `json:"cores"`
	Threads int `json:"threads"`
	// Quota is the share of time that the control group allows, in threads; 0 is all of it.
	Quota float64 `json:"quota"`
	// Parallel is Go's GOMAXPROCS: Threads, or a smaller Quota rounded up, where the environment does not say otherwise.
	Parallel int `json:"parallel"`
}

// Memory is the main memory. Sizes are in bytes.
type Memory struct {
	// Total is that of the machine, and Available what programs may take of it without swapping; 0 where it is not known.
	Total     int64 `json:"total"`
	Available int64 `json:"available"`
	// Limit is the most that the control group may use, 0 for no limit, and Used what it uses without what can be dropped at once.
	Limit int64 `json:"limit"`
	Used  int64 `json:"used"`
}

// Usable is how much a program may have in all: the total, or the limit.
func (m Memory) Usable() int64 {
	if m.Limit > 0 && (m.Total == 0 || m.Limit < m.Total) {
		return m.Limit
	}
	return m.Total
}

// Free is how much a program may still take.
func (m Memory) Free() int64 {
	if m.Limit > 0 {
		left := max(0, m.Limit-m.Used)
		if m.Available == 0 {
			return left
		}
		return min(m.Available, left)
	}
	return m.Available
}

// Processors reads [CPU].
func Processors() CPU {
	return CPU{
		Name: cpuid.CPU.BrandName, Cores: cpuid.CPU.PhysicalCores, Threads: runtime.NumCPU(), Quota: groups().quota(),
		Parallel: runtime.GOMAXPROCS(0),
	}
}

// MainMemory reads [Memory].
func MainMemory() Memory {
	m := memory()
	m.Limit, m.Used = groups().memory()
	if m.Total > 0 && m.Limit >= m.Total { // "no limit" is a very large number in version 1
		m.Limit, m.Used = 0, 0
	}
	return m
}

func groups() controlGroups { return controlGroups{os.DirFS("/")} }
