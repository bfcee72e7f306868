package cpp

// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"sync"
)

// NUMA says how threads and memory are spread over the nodes of a machine that has several.
type NUMA int

const (
	// NUMAOff leaves it to the operating system.
	NUMAOff NUMA = iota
	// NUMADistribute spreads the threads evenly over all nodes.
	NUMADistribute
	// NUMAIsolate keeps them on the node where the process started.
	NUMAIsolate
	// NUMANumactl takes the processors that numactl gave the process.
	NUMANumactl
)

// NUMAs are the words for a [NUMA], in the order of its values.
func NUMAs() []string { return []string{"off", "distribute", "isolate", "numactl"} }

// String returns the word for n.
func (n NUMA) String() string { return word(NUMAs(), int(n)) }

// numa is the strategy in force. ggml takes one in a process, before any model is loaded.
var numa struct {
	sync.Mutex
	set      bool
	strategy NUMA
}

// setNUMA puts the strategy of the first load in force, and refuses another one after that.
func setNUMA(n NUMA) error {
	if n < NUMAOff || n > NUMANumactl {
		return fmt.Errorf("NUMA strategy %v, want one of %s", n, strings.Join(NUMAs(), ", "))
	}
	numa.Lock()
	defer numa.Unlock()
	switch {
	case !numa.set:
		C.llama_numa_init([...]C.enum_ggml_numa_strategy{
			C.GGML_NUMA_STRATEGY_DISABLED, C.GGML_NUMA_STRATEGY_DISTRIBUTE, C.GGML_NUMA_STRATEGY_ISOLATE, C.GGML_NUMA_STRATEGY_NUMACTL,
		}[n])
		numa.set, numa.strategy = true, n
	case numa.strategy != n:
		return fmt.Errorf("NUMA strategy %v: this process has loaded a model with %v, and there is one for all", n, numa.strategy)
	}
	return nil
}

// checkLock says why memory cannot be locked at all on this system.
func checkLock() error {
	if !C.llama_supports_mlock() {
		return errors.New("locking memory is not supported on this system")
	}
	return nil
}

// unlocked is the error for what llama.cpp logged of memory that it could not lock, nil where it logged none. llama.cpp
// itself goes on without.
func unlocked(warnings []string) error {
	for _, line := range warnings {
		if strings.Contains(line, "mlock") {
			return fmt.Errorf("the model cannot be locked into memory: %s; see ulimit -l, or LimitMEMLOCK= of systemd",
				strings.TrimPrefix(line, "warning: "))
		}
	}
	return nil
}
