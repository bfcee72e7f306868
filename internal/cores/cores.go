// Package cores counts the processor cores that are worth a computing thread.
package cores

import (
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Count is the number of physical cores that this process may use, at least 1: two threads on one core share its arithmetic,
// and wait for each other. It is never more than GOMAXPROCS, which follows the processor affinity and the limit that a
// container sets. Where the operating system does not tell which processors share a core, that is the answer.
func Count() int { return count(os.DirFS("/"), runtime.GOMAXPROCS(0)) }

// count reads a Linux file system.
func count(root fs.FS, processors int) int {
	status, err := fs.ReadFile(root, "proc/self/status")
	if err != nil {
		return processors
	}
	cores := map[string]bool{}
	for _, n := range allowed(string(status)) {
		siblings, err := fs.ReadFile(root, "sys/devices/system/cpu/cpu"+strconv.Itoa(n)+"/topology/thread_siblings_list")
		if err != nil {
			return processors
		}
		cores[strings.TrimSpace(string(siblings))] = true
	}
	if len(cores) == 0 {
		return processors
	}
	return min(processors, len(cores))
}

// allowed are the numbers of the processors that a process may run on, by its /proc/self/status.
func allowed(status string) (numbers []int) {
	for line := range strings.Lines(status) {
		list, ok := strings.CutPrefix(line, "Cpus_allowed_list:")
		if !ok {
			continue
		}
		for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
			low, high, isRange := strings.Cut(part, "-")
			if !isRange {
				high = low
			}
			from, err1 := strconv.Atoi(low)
			to, err2 := strconv.Atoi(high)
			if err1 != nil || err2 != nil {
				return nil
			}
			for n := from; n <= to; n++ {
				numbers = append(numbers, n)
			}
		}
	}
	return numbers
}
