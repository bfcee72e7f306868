package cpp

import (
	"slices"
	"strings"
	"testing"

	"aim/internal/testmodel"
)

// TestSplitRefuses holds that what does not fit the GPUs at hand is an error; llama.cpp would read past the shares.
func TestSplitRefuses(t *testing.T) {
	path := testmodel.Path(t)
	if slices.ContainsFunc(Devices(), func(d Device) bool { return d.Kind.Offloads() }) {
		t.Skip("this machine has a GPU")
	}
	for _, c := range []struct {
		split Split
		want  string
	}{
		{Split{Main: 1}, "main GPU 1: there are 0"},
		{Split{Main: -1}, "main GPU -1"},
		{Split{Shares: []float64{1, 1}}, "2 shares for 0 GPUs"},
	} {
		if m, err := Load(path, ModelOptions{Split: c.split}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want an error with %q", c.split, err, c.want)
			if m != nil {
				m.Close()
			}
		}
	}
	// Without a GPU there is nothing to split.
	m, err := Load(path, ModelOptions{Split: Split{Mode: SplitNone}})
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}
