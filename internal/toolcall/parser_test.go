package toolcall

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

var weather = Tool{Name: "get_weather", Parameters: json.RawMessage(
	`{"type":"object","properties":{"city":{"type":"string"},"unit":{"type":"string"},"days":{"type":"integer"}}}`)}

type namedArguments struct{ Name, Arguments string }

type answer struct {
	Content, Reasoning string
	Calls              []namedArguments
}

type transcript struct {
	Format, Source, Text string
	Open                 bool
	answer
}

func (t *transcript) options(tb testing.TB) Options {
	tb.Helper()
	for f, n := range formatNames {
		if n == t.Format {
			return Options{Format: Format(f), Tools: []Tool{weather}, Parallel: true, Reasoning: true, Open: t.Open}
		}
	}
	tb.Fatalf("no format %q", t.Format)
	return Options{}
}

func transcripts(tb testing.TB) []transcript {
	tb.Helper()
	raw, err := os.ReadFile("testdata/transcripts.json")
	if err != nil {
		tb.Fatal(err)
	}
	var all []transcript
	if err := json.Unmarshal(raw, &all); err != nil {
		tb.Fatal(err)
	}
	return all
}

// read parses text in pieces and checks what holds of every answer: the taken text adds up to the whole.
func read(tb testing.TB, o Options, pieces ...string) answer {
	tb.Helper()
	ids := 0
	p := NewParser(o, func() string { ids++; return fmt.Sprint("call_", ids) })
	var taken [asFraming + 1]strings.Builder
	var all strings.Builder
	p.trace = func(as takenAs, text string) { taken[as].WriteString(text); all.WriteString(text) }
	var a answer
	var content, reasoning strings.Builder
	var arguments []*strings.Builder
	var deltas []Delta
	for _, piece := range pieces {
		deltas = append(deltas, p.Add(piece)...)
	}
	for _, d := range append(deltas, p.End()...) {
		content.WriteString(d.Content)
		reasoning.WriteString(d.Reasoning)
		if d.Call == nil {
			continue
		}
		if d.Call.ID != "" {
			a.Calls = append(a.Calls, namedArguments{Name: d.Call.Name})
			arguments = append(arguments, &strings.Builder{})
		}
		if d.Call.Index != len(a.Calls)-1 {
			tb.Fatalf("index %d of %d calls", d.Call.Index, len(a.Calls))
		}
		arguments[d.Call.Index].WriteString(d.Call.Arguments)
	}
	a.Content, a.Reasoning = content.String(), reasoning.String()
	for i, b := range arguments {
		a.Calls[i].Arguments = b.String()
	}
	if p.rest != "" {
		tb.Fatalf("%q is left", p.rest)
	}
	whole := strings.Join(pieces, "")
	total := 0
	for i := range taken {
		total += taken[i].Len()
	}
	if total != len(whole) {
		tb.Fatalf("%d bytes of %d were taken of %q", total, len(whole), whole)
	}
	if a.Content != taken[asContent].String() || a.Reasoning != taken[asReasoning].String() {
		tb.Fatalf("content %q, taken %q; reasoning %q, taken %q", a.Content, taken[asContent].String(), a.Reasoning,
			taken[asReasoning].String())
	}
	return a
}

func TestTranscripts(t *testing.T) {
	for _, c := range transcripts(t) {
		t.Run(c.Format+"/"+c.Source, func(t *testing.T) {
			o := c.options(t)
			if len(c.Calls) == 0 {
				c.Calls = nil
			}
			check := func(pieces ...string) {
				t.Helper()
				if got := read(t, o, pieces...); !reflect.DeepEqual(got, c.answer) {
					t.Fatalf("%q:\ngot  %+v\nwant %+v", pieces, got, c.answer)
				}
			}
			check(c.Text)
			for i := range c.Text {
				check(c.Text[:i], c.Text[i:])
			}
			check(strings.Split(c.Text, "")...)
			r := rand.New(rand.NewPCG(1, 2))
			for range 50 {
				check(split(c.Text, r)...)
			}
		})
	}
}

// split cuts text between runes.
func split(text string, r *rand.Rand) []string {
	var pieces []string
	for text != "" {
		n := min(1+r.IntN(12), len(text))
		for n < len(text) && !utf8.RuneStart(text[n]) {
			n++
		}
		pieces, text = append(pieces, text[:n]), text[n:]
	}
	return pieces
}

func FuzzParser(f *testing.F) {
	for _, c := range transcripts(f) {
		f.Add(c.Text, uint8(c.options(f).Format), uint64(len(c.Text)), c.Open, true)
	}
	f.Fuzz(func(t *testing.T, text string, format uint8, seed uint64, open, reasoning bool) {
		text = strings.ToValidUTF8(text, "")
		o := Options{Format: Format(format) % (Generic + 1), Tools: []Tool{weather}, Open: open, Reasoning: reasoning}
		whole := read(t, o, text)
		pieces := split(text, rand.New(rand.NewPCG(seed, 1)))
		if cut := read(t, o, pieces...); !reflect.DeepEqual(cut, whole) {
			t.Fatalf("%q gives %+v, whole %+v", pieces, cut, whole)
		}
	})
}

// A call's arguments must not wait for their end.
func TestArgumentsAreStreamed(t *testing.T) {
	p := NewParser(Options{Tools: []Tool{weather}}, func() string { return "id" })
	p.Add(`<tool_call>{"name": "get_weather", "arguments": {"ci`)
	d := p.Add(`ty": "Par`)
	if len(d) != 1 || d[0].Call == nil || d[0].Call.Arguments != `ty": "Par` {
		t.Fatalf("got %+v", d)
	}
}

// TestLongAnswers: 100 kB in as many pieces are read; where each piece cost as much as the answer so far, this would take many minutes.
func TestLongAnswers(t *testing.T) {
	texts := map[Format]string{
		Hermes:  `<tool_call>{"arguments": {"city": "`,
		QwenXML: "<tool_call><function=get_weather><parameter=city>",
		LFM2:    `<|tool_call_start|>[get_weather(city="`,
		Llama3:  `{"name": "get_weather", "parameters": "`,
		Generic: "", GLM: "<think>",
	}
	for f, begin := range texts {
		for _, filler := range []string{"a", " ", "<", "{"} {
			read(t, Options{Format: f, Tools: []Tool{weather}, Reasoning: true},
				append([]string{begin}, strings.Split(strings.Repeat(filler, 100_000), "")...)...)
		}
	}
}

// Which format each published template gets.
func TestDetect(t *testing.T) {
	want := map[string]Format{
		"Apriel-1.6-15b-Thinker-fixed": ToolCalls, "CohereForAI-c4ai-command-r7b-12-2024-tool_use": CommandR,
		"GLM-4.7-Flash": GLM, "GigaChat3.1-10B-A1.8B": GigaChat, "LFM2-8B-A1B": LFM2, "LFM2.5-Instruct": LFM2,
		"MiniMax-M1": ToolCalls, "MiniMax-M2": MiniMax, "NVIDIA-Nemotron-Nano-v2": Nemotron, "HuggingFaceTB-SmolLM3-3B": Hermes,
		"NousResearch-Hermes-3-Llama-3.1-8B-tool_use": Hermes, "Qwen-QwQ-32B": Hermes, "Qwen-Qwen3-0.6B": Hermes,
		"Qwen3.5-4B": QwenXML, "StepFun3.5-Flash": QwenXML, "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": DeepSeekR1,
		"llama-cpp-deepseek-r1": DeepSeekR1, "deepseek-ai-DeepSeek-V3.1": DeepSeekV31, "deepseek-ai-DeepSeek-V3.2": DSML,
		"deepseek-ai-DeepSeek-V4": DSML, "fireworks-ai-llama-3-firefunction-v2": FireFunction, "google-gemma-2-2b-it": Hermes,
		"ibm-granite-granite-3.3-2B-Instruct": Granite, "inclusionai-ling-3.0-flash": GLM, "poolside-Laguna-XS.2": GLM,
		"meetkai-functionary-medium-v3.1": Functionary31, "meetkai-functionary-medium-v3.2": Functionary32,
		"meta-llama-Llama-3.1-8B-Instruct": Llama3, "mistralai-Ministral-3-14B-Reasoning-2512": Mistral,
		"mistralai-Mistral-Nemo-Instruct-2407": MistralList, "moonshotai-Kimi-K2": Kimi, "openbmb-MiniCPM5-1B": MiniCPM,
		"upstage-Solar-Open-100B": Solar,
	}
	found := 0
	for model, format := range want {
		source, err := os.ReadFile(filepath.Join("../../../shared/testdata/chat_templates", model+".jinja"))
		if err != nil {
			continue
		}
		found++
		if got := Detect(string(source)); got != format {
			t.Errorf("%s: %v, want %v", model, got, format)
		}
	}
	if found == 0 {
		t.Skip("no templates here")
	}
}
