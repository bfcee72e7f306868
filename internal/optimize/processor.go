package optimize

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Processor names the processor of this machine: what it calls itself and, since virtual machines hide which one it is, a digest of its
// features.
func Processor() string {
	name, features := describe()
	if features == "" {
		return strings.TrimSpace(name + " " + runtime.GOARCH)
	}
	return fmt.Sprintf("%s, features %x", name, sha256.Sum256([]byte(features)))[:len(name)+len(", features ")+8]
}

// describe reads Linux's description of the first processor; elsewhere the names are empty.
func describe() (name, features string) {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "", ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() && (name == "" || features == "") {
		key, value, _ := strings.Cut(lines.Text(), ":")
		switch strings.TrimSpace(key) {
		case "model name":
			name = strings.TrimSpace(value)
		case "flags", "Features":
			features = strings.TrimSpace(value)
		case "CPU part": // 64-bit ARM has no name
			name = strings.TrimSpace("ARM part " + value)
		}
	}
	return name, features
}
