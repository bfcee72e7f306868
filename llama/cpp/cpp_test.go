package cpp

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"aim/internal/testmodel"
	"aim/llama"
	"aim/llama/llamatest"
)

func open(t testing.TB) *Model {
	t.Helper()
	m, err := Load(testmodel.Path(t), ModelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func decoder(t testing.TB, m *Model, o DecoderOptions) *Decoder {
	t.Helper()
	d, err := m.NewDecoder(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// writeFile puts content into a file of the test's own folder.
func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadRefuses(t *testing.T) {
	whole, err := os.ReadFile(testmodel.Path(t))
	if err != nil {
		t.Fatal(err)
	}
	alien := bytes.Clone(whole)
	copy(alien[bytes.Index(alien, []byte("llama")):], "alien")
	for _, c := range []struct{ name, path, want string }{
		{"missing", filepath.Join(t.TempDir(), "none.gguf"), "no such file"},
		{"folder", t.TempDir(), "not a regular file"},
		{"text", writeFile(t, "text.gguf", []byte("This is not a model.\n")), "not a GGUF file"},
		{"empty", writeFile(t, "empty.gguf", nil), "not a GGUF file"},
		{"header only", writeFile(t, "header.gguf", whole[:24]), "incomplete"},
		{"truncated vocabulary", writeFile(t, "vocab.gguf", whole[:100_000]), "incomplete"},
		{"truncated weights", writeFile(t, "weights.gguf", whole[:len(whole)/2]), "not within the file bounds"},
		{"unknown architecture", writeFile(t, "alien.gguf", alien), "alien"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Load(c.path, ModelOptions{})
			if err == nil {
				m.Close()
				t.Fatal("loaded")
			}
			t.Log(err)
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), filepath.Base(c.path)) {
				t.Errorf("error %q names neither the file nor %q", err, c.want)
			}
		})
	}
}

func firstHalf(t *testing.T, path string) []byte {
	t.Helper()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return whole[:len(whole)/2]
}

// A failed load and a loaded and closed model leave no file open and no memory behind.
func TestNothingLeaks(t *testing.T) {
	path := testmodel.Path(t)
	truncated := writeFile(t, "truncated.gguf", firstHalf(t, path))
	cycle := func() {
		m, err := Load(path, ModelOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := m.NewDecoder(DecoderOptions{Slots: 2, Context: 512})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Decode([]llama.Row{{Token: 1, Logits: true}}); err != nil {
			t.Fatal(err)
		}
		d.Close()
		m.Close()
		if _, err := Load(truncated, ModelOptions{}); err == nil {
			t.Fatal("a truncated file loaded")
		}
	}
	// C's allocator keeps and scatters what is freed, the more so across threads: memory may rise for a while, but not
	// for ever. One leaked cache or buffer of logits a cycle would be tens of megabytes.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const cycles, rounds = 6, 12
	grown := 0
	for range rounds {
		files, threads, memory := processState(t)
		for range cycles {
			cycle()
		}
		files2, threads2, memory2 := processState(t)
		t.Logf("%d cycles: files %d → %d, threads %d → %d, resident %d → %d kB", cycles, files, files2, threads, threads2, memory, memory2)
		if grown = memory2 - memory; grown < cycles<<9 && files2 <= files && threads2 <= threads {
			return
		}
	}
	t.Errorf("files, threads or memory rose in each of %d rounds, at last by %d kB in %d cycles", rounds, grown, cycles)
}

// processState counts this process's open files and threads, and its resident memory in kB.
func processState(t *testing.T) (files, threads, memory int) {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("needs /proc: ", err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "VmRSS: %d", &memory)
		fmt.Sscanf(line, "Threads: %d", &threads)
	}
	return len(fds), threads, memory
}

func TestProgress(t *testing.T) {
	var seen []float64
	m, err := Load(testmodel.Path(t), ModelOptions{Progress: func(f float64) { seen = append(seen, f) }})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if len(seen) == 0 || !slices.IsSorted(seen) || seen[len(seen)-1] != 1 {
		t.Errorf("progress %v does not rise to 1", seen)
	}
}

// The facts of the default model, as its GGUF metadata has them.
func TestFacts(t *testing.T) {
	m := open(t)
	if m.Vocab() != 49152 || m.TrainContext() != 8192 || m.BOS() != "<|im_start|>" || m.EOS() != "<|im_end|>" {
		t.Errorf("vocab %d, context %d, BOS %q, EOS %q", m.Vocab(), m.TrainContext(), m.BOS(), m.EOS())
	}
	if !strings.Contains(m.ChatTemplate(), "add_generation_prompt") || !strings.Contains(m.Description(), "Q4_1") {
		t.Errorf("template %q, description %q", m.ChatTemplate(), m.Description())
	}
	if got := m.Specials(); !slices.Contains(got, "<|im_end|>") || !slices.Contains(got, "<|endoftext|>") {
		t.Errorf("specials %q", got)
	}
	if m.Size() < 90<<20 || m.Size() > 98_362_432 {
		t.Errorf("size %d", m.Size())
	}
}

// Text that is not UTF-8 must not end the process; llama.cpp's tokenizers throw on some of it.
func FuzzTokenize(f *testing.F) {
	m := open(f)
	for _, s := range []string{"", "a", "\xff\xfe", "\xe2\x82", "<|im_end|>\x00", strings.Repeat("a", 1000)} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, text string, trusted bool) {
		tokens, err := m.Tokenize([]llama.Part{{Text: text, Trusted: trusted}}, true)
		if err != nil {
			return
		}
		var back []byte
		for _, tok := range tokens {
			if tok < 0 || int(tok) >= m.Vocab() {
				t.Fatalf("token %d", tok)
			}
			back = append(back, m.Piece(tok)...)
		}
		if utf8.ValidString(text) && string(back) != text {
			t.Errorf("%q came back as %q", text, back)
		}
	})
}

func TestContract(t *testing.T) {
	m := open(t)
	for name, unified := range map[string]bool{"split": false, "unified": true} {
		t.Run(name, func(t *testing.T) {
			llamatest.Run(t, llamatest.Driver{
				Model: m,
				Open: func(t testing.TB, slots, context, batch int) llama.Decoder {
					return decoder(t, m, DecoderOptions{Slots: slots, Context: context, Batch: batch, Unified: unified})
				},
				// On AVX-512, up to 0.85 without flash attention, whose products of matrices depend on the shape of the batch; with it
				// bit-exact but for a sequence whose cells are scattered after others left a unified cache: 0.56.
				Tolerance: 1,
			})
		})
	}
}
