package sampler

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/golden.json anew: a change that users see, for the changelog")

// goldenNote is the header of the file.
const goldenNote = "A seed, a key and a model's name are promises: the same ones give the same noise and the same tokens in every version " +
	"of Aim. These values may not change silently. If they must, run `go test ./sampler -run Golden -update`, and tell it in CHANGELOG.md."

// golden is the content of testdata/golden.json.
type golden struct {
	Note string `json:"note"`
	// Keys are keys in hex, by how they were derived.
	Keys map[string]string `json:"keys"`
	// Noise is ε of the first utility key after the context, by token.
	Context []Token           `json:"context"`
	Noise   map[Token]float64 `json:"noise"`
	// WindowNoise is ε of the key of a window of three after the context, the first three tokens of which are the prompt.
	WindowNoise map[Token]float64 `json:"window_noise"`
	// Answers are 32 tokens each over the rows testRow(0), testRow(1), …, by the name of the combination.
	Answers map[string][]Token `json:"answers"`
}

func newGolden(t *testing.T) golden {
	key := UtilityKey([]byte("the owner's secret"), "smollm2", 0.5)
	g := golden{
		Note: goldenNote,
		Keys: map[string]string{
			"utility, smollm2, 0.5": hex.EncodeToString(key[:]),
			"window of 3, the same": hexKey(Scope{Window: 3}.Key([]byte("the owner's secret"), "smollm2", 0.5)),
			"focus, seed 42":        hexKey(FocusKey(42)),
			"focus, seed 42, 1":     hexKey(FocusKey(42).entry(1)),
		},
		Context: []Token{1, 9690, 198, 2683, 359},
		Noise:   map[Token]float64{},

		WindowNoise: map[Token]float64{},
		Answers:     map[string][]Token{},
	}
	var context chain
	for _, token := range g.Context {
		context.push(token)
	}
	f := mustField(t, key, &context)
	for _, token := range []Token{0, 1, 2, 3, 4, 4095, 4096, 49151, 262143} {
		g.Noise[token] = f.at(token)
	}
	u := windowUtility(t, 3, g.Context[:3], g.Context[3:])
	for token := range g.Noise {
		g.WindowNoise[token] = u.field.at(token)
	}
	all := combinations()
	maps.Copy(all, furtherCombinations())
	for name, p := range all {
		s := mustNew(t, p, 1000)
		s.Prime(g.Context[:3:3])
		g.Answers[name] = answer(t, s, 32)
	}
	return g
}

func hexKey(k Key) string { return hex.EncodeToString(k[:]) }

func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "golden.json")
	got := newGolden(t)
	if *update {
		writeGolden(t, path, got)
		return
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want golden
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if want.Note != got.Note || !slices.Equal(want.Context, got.Context) {
		t.Errorf("note or context have changed")
	}
	checkSameKeys(t, "keys", got.Keys, want.Keys)
	for name, key := range want.Keys {
		if got.Keys[name] != key {
			t.Errorf("key %q is %s, want %s", name, got.Keys[name], key)
		}
	}
	checkNoise(t, "noise", got.Noise, want.Noise)
	checkNoise(t, "noise in a window", got.WindowNoise, want.WindowNoise)
	checkSameKeys(t, "answers", got.Answers, want.Answers)
	for name, tokens := range want.Answers {
		if !slices.Equal(got.Answers[name], tokens) {
			t.Errorf("answer %q is %v, want %v", name, got.Answers[name], tokens)
		}
	}
}

func checkNoise(t *testing.T, name string, got, want map[Token]float64) {
	t.Helper()
	checkSameKeys(t, name, got, want)
	for token, e := range want {
		if !near(got[token], e, 1e-12) { // another processor may round otherwise
			t.Errorf("%s: ε(%d) = %.17g, want %.17g", name, token, got[token], e)
		}
	}
}

func checkSameKeys[K comparable, V any](t *testing.T, name string, got, want map[K]V) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("there are %d %s, want %d", len(got), name, len(want))
	}
}

func writeGolden(t *testing.T, path string, g golden) {
	t.Helper()
	data, err := json.MarshalIndent(g, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
