package cores

import (
	"fmt"
	"runtime"
	"testing"
	"testing/fstest"
)

// computer is a file system as Linux shows it: each processor with those on its core, and those that the process may use.
func computer(allowed string, siblings ...string) fstest.MapFS {
	root := fstest.MapFS{"proc/self/status": {Data: []byte("Name:\taim\nCpus_allowed:\tff\nCpus_allowed_list:\t" + allowed + "\nMems_allowed_list:\t0\n")}}
	for i, s := range siblings {
		root[fmt.Sprintf("sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i)] = &fstest.MapFile{Data: []byte(s + "\n")}
	}
	return root
}

func TestCount(t *testing.T) {
	pairs := []string{"0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"}
	for _, c := range []struct {
		name       string
		root       fstest.MapFS
		processors int
		want       int
	}{
		{"four cores with two threads each", computer("0-7", pairs...), 8, 4},
		{"a container limited to two processors", computer("0-7", pairs...), 2, 2},
		{"bound to two threads of one core", computer("0,4", pairs...), 2, 1},
		{"bound to one thread of each core", computer("0-3", pairs...), 4, 4},
		{"no threads that share a core", computer("0-1", "0", "1"), 2, 2},
		{"a processor that is not told of", computer("0-8", pairs...), 9, 9},
		{"another operating system", fstest.MapFS{}, 6, 6},
		{"nonsense", computer("0-x", pairs...), 8, 8},
	} {
		if got := count(c.root, c.processors); got != c.want {
			t.Errorf("%s: %d cores, want %d", c.name, got, c.want)
		}
	}
	if n := Count(); n < 1 || n > runtime.GOMAXPROCS(0) {
		t.Errorf("this machine has %d cores for %d processors", n, runtime.GOMAXPROCS(0))
	}
}
