package cpp

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"aim/llama"
)

// harnessItem is what lm-evaluation-harness logs of an item: contexts with continuations, and what our server made of them.
type harnessItem struct {
	Doc struct {
		Gold int
	}
	Arguments map[string]struct {
		Context      string `json:"arg_0"`
		Continuation string `json:"arg_1"`
	}
	Resps [][][]any
}

// TestHarnessScores compares what lm-evaluation-harness got over HTTP (make lm-eval) with what llama.cpp computes in one batch, without
// our engine, sampler and server. It needs minutes for all items, so it runs where AIM_LM_EVAL names the folder of the results only.
func TestHarnessScores(t *testing.T) {
	dir := os.Getenv("AIM_LM_EVAL")
	if dir == "" {
		t.Skip("AIM_LM_EVAL names no results of make lm-eval")
	}
	m := open(t)
	dec := decoder(t, m, DecoderOptions{Slots: 1, Context: 1024, Batch: 1024})
	for _, task := range []string{"piqa", "arc_easy", "lambada"} {
		t.Run(task, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(dir, "*", "samples_aim_"+task+"_*.jsonl"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no samples in %s: %v", dir, err)
			}
			slices.Sort(files)
			compareHarness(t, m, dec, files[len(files)-1])
		})
	}
}

func compareHarness(t *testing.T, m *Model, dec *Decoder, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	items, scores, agree, worst := 0, 0, 0, 0.0
	var right, rightHere int
	for lines.Scan() {
		var it harnessItem
		if err := json.Unmarshal(lines.Bytes(), &it); err != nil {
			t.Fatal(err)
		}
		items++
		var over, here []float64
		for i := range it.Resps {
			a := it.Arguments[fmt.Sprintf("gen_args_%d", i)]
			got, err := strconv.ParseFloat(fmt.Sprint(it.Resps[i][0][0]), 64)
			if err != nil {
				t.Fatal(err)
			}
			want, greedy := likelihood(t, m, dec, a.Context, a.Continuation)
			over, here = append(over, got), append(here, want)
			scores++
			worst = max(worst, math.Abs(got-want))
			if d := math.Abs(got - want); d > 0.02 {
				t.Errorf("%q after %.60q: %v over HTTP, %v here", a.Continuation, a.Context, got, want)
			}
			// Python spells its booleans with a capital.
			if said, err := strconv.ParseBool(fmt.Sprint(it.Resps[i][0][1])); err == nil && said == greedy {
				agree++
			}
		}
		if len(over) > 1 {
			if largest(over) == it.Doc.Gold {
				right++
			}
			if largest(here) == it.Doc.Gold {
				rightHere++
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d items, %d scores, largest difference %.1e; whether a continuation is greedy agrees %d times; right choices: %d over HTTP, %d here",
		items, scores, worst, agree, right, rightHere)
	if math.Abs(float64(right-rightHere)) > 0.005*float64(items) || float64(scores-agree) > 0.005*float64(scores) {
		t.Error("the scores differ by more than half a point")
	}
}

// likelihood is the log-probability of a continuation, and whether each of its tokens is the most probable one.
func likelihood(t *testing.T, m *Model, dec *Decoder, before, after string) (sum float64, greedy bool) {
	t.Helper()
	whole, err := m.Tokenize([]llama.Part{{Text: before + after, Trusted: true}}, false)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := m.Tokenize([]llama.Part{{Text: before, Trusted: true}}, false)
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]llama.Row, len(whole)-1)
	for i := range rows {
		rows[i] = llama.Row{Token: whole[i], Pos: i, Logits: i >= len(alone)-1}
	}
	if err := dec.Decode(rows); err != nil {
		t.Fatal(err)
	}
	greedy = true
	for i := len(alone) - 1; i < len(rows); i++ {
		row, tok := dec.Logits(i), whole[i+1]
		best := slices.Max(row)
		norm := 0.0
		for _, z := range row {
			norm += math.Exp(float64(z) - float64(best))
		}
		sum += float64(row[tok]) - float64(best) - math.Log(norm)
		greedy = greedy && row[tok] == best
	}
	if err := dec.Forget(0, 0); err != nil {
		t.Fatal(err)
	}
	return sum, greedy
}

func largest(v []float64) int { return slices.Index(v, slices.Max(v)) }
