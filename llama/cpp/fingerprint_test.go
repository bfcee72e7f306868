package cpp

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"aim/llama"
	"aim/sampler"
)

// rewordings of the questions: each with a word or two changed, and said in other words.
var rewordings = [][2]string{
	{"Tell me about the town of Paris.", "I'd like to know more about France's capital."},
	{"Write a short tale about a dog.", "Could you make up a brief story whose hero is a puppy?"},
	{"Describe a morning at school.", "What happens between the first and the last bell of a pupil's day?"},
	{"What should I do on the holiday?", "I have Saturday and Sunday off; any ideas?"},
	{"Explain how a motorcycle works.", "How is it that pedalling makes a bike move?"},
	{"Give me advice for moving to a new city.", "I am about to relocate. What should I keep in mind?"},
	{"Describe your favourite month.", "Which time of the year do you like best, and why?"},
	{"What makes a good neighbour?", "Which qualities should somebody have whom you can rely on?"},
	{"Write a letter to a friend.", "Please draft a note for the people next door."},
	{"Tell me about the sea.", "What is there to know about the great waters of the earth?"},
	{"How do I bake a cake?", "Give me a recipe for a loaf."},
	{"Why is the sea blue?", "What gives the heavens their colour by day?"},
	{"Name four uses of a rope.", "What can one do with a piece of cord? Three things, please."},
	{"What is a calculator?", "Explain to a child which machine sits on an office desk."},
	{"Plan a birthday party for a friend.", "My daughter turns six. How should we celebrate?"},
	{"How does a seed become a flower?", "Describe the growth of an oak from its very beginning."},
	{"Summarize the story of Treasure Island.", "What happens to the castaway in Defoe's novel?"},
	{"What is the difference between a pond and a river?", "How do standing and running waters differ?"},
	{"Write a poem about summer.", "Compose some verses on snow and frost."},
	{"How can I learn to play the guitar?", "I want to become a pianist. Where do I start?"},
}

// TestFingerprintSurvives publishes how often the fingerprint of a prompt stays what it is when the prompt is edited, over
// many keys: the table of docs/noise.md. It must be what the similarity of the sets of tokens says, to four standard errors.
func TestFingerprintSurvives(t *testing.T) {
	m := open(t)
	const keys = 2000
	rng := rand.New(rand.NewPCG(1, 0))
	nonce := func() string { return fmt.Sprintf("%08x", rng.Uint32()) }
	lower := func(s string) string { return strings.ToLower(s[:1]) + s[1:] }
	const system = "<|im_start|>system\nYou are a helpful assistant. Answer briefly, in plain words, and say so where you are not sure.<|im_end|>\n"
	for _, c := range []struct {
		name   string
		system string
		edit   func(i int, question string) string
		least  float64
	}{
		{"nonce of 8 hex digits behind", "", func(_ int, q string) string { return q + " " + nonce() }, 0.6},
		{"nonce of 8 hex digits in front", "", func(_ int, q string) string { return nonce() + " " + q }, 0.6},
		{"the same, with a system prompt", system, func(_ int, q string) string { return q + " " + nonce() }, 0.75},
		{"four spaces behind", "", func(_ int, q string) string { return q + "    " }, 0.9},
		{"\"Please\" in front", "", func(_ int, q string) string { return "Please " + lower(q) }, 0.8},
		{"a word or two changed", "", func(i int, _ string) string { return rewordings[i][0] }, 0.8},
		{"said in other words", "", func(i int, _ string) string { return rewordings[i][1] }, 0.25},
		{"the same, with a system prompt", system, func(i int, _ string) string { return rewordings[i][1] }, 0.5},
		{"another question", "", func(i int, _ string) string { return questions[(i+7)%len(questions)] }, 0.25},
	} {
		same, jaccard, variance := 0, 0.0, 0.0
		for i, q := range questions {
			a, b := promptTokens(t, m, c.system, q), promptTokens(t, m, c.system, c.edit(i, q))
			j := similarity(a, b)
			jaccard += j / float64(len(questions))
			p := j + (1-j)/(1<<sampler.FingerprintBits)
			variance += p * (1 - p) * keys
			for range keys {
				k := sampler.FocusKey(rng.Uint64())
				if fingerprint(t, k, a) == fingerprint(t, k, b) {
					same++
				}
			}
		}
		n := float64(keys * len(questions))
		share, want := float64(same)/n, jaccard+(1-jaccard)/(1<<sampler.FingerprintBits)
		t.Logf("%-32s similarity %.2f, survives in %.1f %%", c.name, jaccard, 100*share)
		if !(math.Abs(share-want) <= 4*math.Sqrt(variance)/n) || !(share >= c.least) {
			t.Errorf("%s: survives in %.2f %%, want %.2f %%, at least %.0f %%", c.name, 100*share, 100*want, 100*c.least)
		}
	}
}

func promptTokens(t *testing.T, m *Model, system, question string) []sampler.Token {
	t.Helper()
	tokens, err := m.Tokenize([]llama.Part{{Text: system + fmt.Sprintf(chatFormat, question), Trusted: true}}, true)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func fingerprint(t *testing.T, k sampler.Key, prompt []sampler.Token) int {
	t.Helper()
	f, err := sampler.Fingerprint(k, prompt)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// similarity is that of Jaccard: of the distinct tokens of both, the share that both have.
func similarity(a, b []sampler.Token) float64 {
	in := map[sampler.Token]int{}
	for _, t := range a {
		in[t] |= 1
	}
	for _, t := range b {
		in[t] |= 2
	}
	both := 0
	for _, have := range in {
		if have == 3 {
			both++
		}
	}
	return float64(both) / float64(len(in))
}
