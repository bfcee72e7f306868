package machine

import (
	"runtime"
	"testing"
	"testing/fstest"
)

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

// TestControlGroups reads limits in the forms in which Linux writes them.
func TestControlGroups(t *testing.T) {
	for _, c := range []struct {
		name        string
		root        fstest.MapFS
		limit, used int64
		quota       float64
	}{
		{name: "no Linux", root: fstest.MapFS{}},
		{name: "version 2, no limits", root: fstest.MapFS{
			"proc/self/cgroup":                     file("0::/user.slice\n"),
			"sys/fs/cgroup/user.slice/memory.max":  file("max\n"),
			"sys/fs/cgroup/user.slice/cpu.max":     file("max 100000\n"),
			"sys/fs/cgroup/user.slice/memory.stat": file("anon 5\n"),
		}},
		{name: "version 2, its own and the one above", root: fstest.MapFS{
			"proc/self/cgroup":                       file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max":           file("4000\n"),
			"sys/fs/cgroup/a/b/memory.current":       file("100\n"),
			"sys/fs/cgroup/a/memory.max":             file("3000\n"),
			"sys/fs/cgroup/a/memory.current":         file("1000\n"),
			"sys/fs/cgroup/a/memory.stat":            file("anon 500\nfile 500\ninactive_file 400\nactive_file 100\n"),
			"sys/fs/cgroup/a/b/cpu.max":              file("150000 100000\n"),
			"sys/fs/cgroup/a/cpu.max":                file("400000 100000\n"),
			"sys/fs/cgroup/a/b/memory.swap.max":      file("0\n"),
			"sys/fs/cgroup/memory.numa_stat":         file("anon N0=0\n"),
			"sys/fs/cgroup/a/b/memory.pressure":      file("some avg10=0.00\n"),
			"sys/fs/cgroup/a/b/cgroup.subtree_limit": file(""),
		}, limit: 3000, used: 600, quota: 1.5},
		{name: "version 2, a path of the host", root: fstest.MapFS{
			"proc/self/cgroup":             file("0::/system.slice/docker-1.scope\n"),
			"sys/fs/cgroup/memory.max":     file("2000\n"),
			"sys/fs/cgroup/memory.current": file("500\n"),
		}, limit: 2000, used: 500},
		{name: "version 1", root: fstest.MapFS{
			"proc/self/cgroup": file("9:name=systemd:/\n4:memory:/x\n2:cpu,cpuacct:/y\n0::/\n"),
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": file("8000\n"),
			"sys/fs/cgroup/memory/x/memory.usage_in_bytes": file("900\n"),
			"sys/fs/cgroup/memory/x/memory.stat":           file("cache 700\ninactive_file 1\ntotal_inactive_file 300\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes":   file("9223372036854771712\n"),
			"sys/fs/cgroup/cpu/y/cpu.cfs_quota_us":         file("50000\n"),
			"sys/fs/cgroup/cpu/y/cpu.cfs_period_us":        file("100000\n"),
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":           file("-1\n"),
			"sys/fs/cgroup/cpu/cpu.cfs_period_us":          file("100000\n"),
		}, limit: 8000, used: 600, quota: 0.5},
		{name: "nonsense", root: fstest.MapFS{
			"proc/self/cgroup":         file("what\n0::/../..\n"),
			"sys/fs/cgroup/memory.max": file("many\n"),
			"sys/fs/cgroup/cpu.max":    file("0 0\n"),
		}},
	} {
		g := controlGroups{c.root}
		limit, used := g.memory()
		if limit != c.limit || used != c.used || g.quota() != c.quota {
			t.Errorf("%s: memory %d of %d, quota %g; want %d of %d, %g", c.name, used, limit, g.quota(), c.used, c.limit, c.quota)
		}
	}
}

func TestMemory(t *testing.T) {
	for _, c := range []struct {
		m            Memory
		usable, free int64
	}{
		{Memory{}, 0, 0},
		{Memory{Total: 10, Available: 7}, 10, 7},
		{Memory{Total: 10, Available: 7, Limit: 5, Used: 1}, 5, 4},
		{Memory{Total: 10, Available: 2, Limit: 5, Used: 1}, 5, 2},
		{Memory{Total: 10, Limit: 5, Used: 6}, 5, 0},
	} {
		if c.m.Usable() != c.usable || c.m.Free() != c.free {
			t.Errorf("%+v: usable %d, free %d; want %d, %d", c.m, c.m.Usable(), c.m.Free(), c.usable, c.free)
		}
	}
}

// TestHere reads the machine that the test runs on.
func TestHere(t *testing.T) {
	cpu, memory := Processors(), MainMemory()
	if cpu.Threads < 1 || cpu.Parallel < 1 || cpu.Quota < 0 {
		t.Errorf("%+v", cpu)
	}
	switch runtime.GOOS {
	case "linux":
		if memory.Total <= 0 || memory.Available <= 0 || memory.Free() > memory.Usable() {
			t.Errorf("%+v", memory)
		}
	case "darwin":
		if memory.Total <= 0 {
			t.Errorf("%+v", memory)
		}
	}
	t.Logf("%+v %+v", cpu, memory)
}
