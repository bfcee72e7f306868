package machine

import (
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

// controlGroups reads the limits of the process's Linux control groups, of version 1 and 2, below a root folder. Elsewhere
// there are none.
type controlGroups struct{ root fs.FS }

// Where systems mount the groups.
const mount = "sys/fs/cgroup"

// folders are the group of a controller ("" for version 2) and those above it, which limit it as well. In a container the
// process's path may be one that only the host knows; then what can be seen is the group itself.
func (g controlGroups) folders(controller string) (list []string) {
	text, err := fs.ReadFile(g.root, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		// hierarchy:controllers:path
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 || !slices.Contains(strings.Split(part[1], ","), controller) {
			continue
		}
		for at := path.Clean("/" + part[2]); ; at = path.Dir(at) {
			list = append(list, path.Join(mount, controller, at))
			if at == "/" {
				return list
			}
		}
	}
	return nil
}

// words are the words of a file, none where it cannot be read.
func (g controlGroups) words(dir, name string) []string {
	text, err := fs.ReadFile(g.root, path.Join(dir, name))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

// number is the only number of a file; ok is false where it has none, such as for "max".
func (g controlGroups) number(dir, name string) (n int64, ok bool) {
	words := g.words(dir, name)
	if len(words) != 1 {
		return 0, false
	}
	n, err := strconv.ParseInt(words[0], 10, 64)
	return n, err == nil
}

// field is the number after a name in a file of names and numbers, 0 without one.
func (g controlGroups) field(dir, file, name string) int64 {
	words := g.words(dir, file)
	if i := slices.Index(words, name); i >= 0 && i+1 < len(words) {
		n, _ := strconv.ParseInt(words[i+1], 10, 64)
		return n
	}
	return 0
}

// memory is the tightest limit and what is used of it. Cached files that were not read lately do not count: they go first.
func (g controlGroups) memory() (limit, used int64) {
	tighten := func(dir, most, now, idle string) {
		l, ok := g.number(dir, most)
		if !ok || limit > 0 && l >= limit {
			return
		}
		u, _ := g.number(dir, now)
		limit, used = l, max(0, u-g.field(dir, "memory.stat", idle))
	}
	for _, dir := range g.folders("") {
		tighten(dir, "memory.max", "memory.current", "inactive_file")
	}
	for _, dir := range g.folders("memory") {
		tighten(dir, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
	}
	return limit, used
}

// quota is the tightest limit of processor time, in threads, 0 for none.
func (g controlGroups) quota() float64 {
	tightest := math.Inf(1)
	tighten := func(quota, period int64) {
		if quota > 0 && period > 0 {
			tightest = min(tightest, float64(quota)/float64(period))
		}
	}
	for _, dir := range g.folders("") {
		if words := g.words(dir, "cpu.max"); len(words) == 2 {
			quota, _ := strconv.ParseInt(words[0], 10, 64) // 0 for "max"
			period, _ := strconv.ParseInt(words[1], 10, 64)
			tighten(quota, period)
		}
	}
	for _, dir := range g.folders("cpu") {
		quota, _ := g.number(dir, "cpu.cfs_quota_us") // -1 for none
		period, _ := g.number(dir, "cpu.cfs_period_us")
		tighten(quota, period)
	}
	if math.IsInf(tightest, 1) {
		return 0
	}
	return tightest
}
