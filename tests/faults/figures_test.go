package faults

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"aim/internal/testdisk"
)

// full says that the long version runs.
func full() bool { return os.Getenv("AIM_FAULTS") != "" }

// pick is a number for the short version, or the long one.
func pick(short, long int) int {
	if full() {
		return long
	}
	return short
}

// figures are what the tests have measured, by sections in the order in which they came.
var figures struct {
	sync.Mutex
	sections []string
	rows     map[string][][2]string
}

// figure notes what a test has measured.
func figure(section, what, format string, args ...any) {
	figures.Lock()
	defer figures.Unlock()
	if figures.rows == nil {
		figures.rows = map[string][][2]string{}
	}
	if _, ok := figures.rows[section]; !ok {
		figures.sections = append(figures.sections, section)
	}
	figures.rows[section] = append(figures.rows[section], [2]string{what, fmt.Sprintf(format, args...)})
}

func TestMain(m *testing.M) {
	began := time.Now()
	code := m.Run()
	if !testdisk.Inside() && full() {
		text := table()
		fmt.Print("\n", text)
		if path := os.Getenv("AIM_FAULTS_DOC"); path != "" && code == 0 && len(figures.sections) > 5 { // not of a part
			head := fmt.Sprintf(preface, time.Since(began).Round(time.Second))
			if err := os.WriteFile(path, []byte(head+text), 0o644); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

const preface = `# Faults

What ` + "`make faults`" + ` measured, which also wrote this page. It breaks what can be broken on one machine and checks that nothing is lost that was
promised: each request that failed has its right status, usage is there exactly once, and nothing stays behind. What is checked is said in
` + "`tests/faults`" + `, where each line comes from. The run took %v.

`

// table shows the figures.
func table() string {
	figures.Lock()
	defer figures.Unlock()
	var b strings.Builder
	for i, s := range figures.sections {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "## %s\n\n| | |\n| --- | --- |\n", s)
		for _, r := range figures.rows[s] {
			fmt.Fprintf(&b, "| %s | %s |\n", r[0], r[1])
		}
	}
	return b.String()
}

// eventually waits until f holds; it fails the test after a minute.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if f() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
