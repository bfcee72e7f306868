package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Options are the sizes of loads.
type Options struct {
	// Clients are the numbers of clients for distinct prompts; other scenarios take the largest up to Slots.
	Clients []int `json:"clients"`
	// Requests is how many each client sends, Slots how many conversations the servers answer at once.
	Requests int `json:"requests"`
	Slots    int `json:"slots"`
	// Lengths in tokens: of distinct prompts and their answers, of the shared beginning, and of the long prompt.
	Prompt int `json:"prompt"`
	Answer int `json:"answer"`
	Prefix int `json:"prefix"`
	Long   int `json:"long"`
	// Sigma is the utility noise of modulated loads, in logits.
	Sigma float64 `json:"sigma"`
	// Seed makes the prompts.
	Seed uint64 `json:"seed"`
	// Limit ends a load that takes longer; 0 is none.
	Limit time.Duration `json:"limit"`
}

// DefaultOptions are those of the figures in docs/performance.md. Sigma is that of level 0.8 on the default model.
func DefaultOptions() Options {
	return Options{
		Clients: []int{1, 4, 8, 16}, Requests: 2, Slots: 8, Prompt: 208, Answer: 128, Prefix: 1500, Long: 4000,
		Sigma: 0.75, Seed: 1, Limit: 2 * time.Minute,
	}
}

// Quick makes loads small, so that all scenarios take about 5 minutes on two cores.
func (o *Options) Quick() {
	o.Clients, o.Requests, o.Answer, o.Prefix, o.Long = []int{1, 8}, 1, 64, 500, 1500
}

// crowd is the number of clients where there is one number only: all slots busy and nobody waiting.
func (o *Options) crowd() int { return min(o.Slots, slices.Max(o.Clients)) }

// Shape is what a server is started with: how many conversations at once, and the tokens of each.
type Shape struct{ Slots, Context int }

// roomFor is a context that holds so many tokens, with room for prompts that come out longer than they should.
func roomFor(tokens int) int { return (tokens*5/4 + 64 + 255) / 256 * 256 }

// Run is a scenario on its way: one server, one round.
type Run struct {
	Options
	Client  *Client
	Prompts Prompts
	Round   int
	// Process is the server's, nil where it is not ours; First is the answer to the probe that found it ready.
	Process *Process
	First   *Answer
	// Record takes the figures of a case.
	Record func(name string, f Figures)
}

// Scenario is a load with a name.
type Scenario struct {
	// Name is for the command line, Title for tables.
	Name, Title string
	// OnlyAim says that it uses what only Aim knows; Own that it needs a server that it started; Once that rounds add nothing.
	OnlyAim, Own, Once bool
	// Cold says that the first request is what is measured.
	Cold    bool
	shape   func(o *Options) Shape
	measure func(ctx context.Context, r *Run) error
}

// Scenarios are all there are, in the order of reports.
var Scenarios = []*Scenario{
	{Name: "distinct", Title: "distinct prompts", shape: shapeDistinct, measure: distinct},
	{Name: "shared", Title: "a shared prefix", shape: shapeShared, measure: shared},
	{Name: "identical", Title: "one prompt from all clients at once", shape: shapeDistinct, measure: identical},
	{Name: "again", Title: "the same prompt again", shape: shapeAgain, measure: again},
	{Name: "chat", Title: "the next turn of a chat", shape: shapeChat, measure: chat},
	{Name: "long", Title: "a long prompt beside running answers", shape: shapeLong, measure: long},
	{Name: "memory", Title: "peak memory, 16 slots of 1024", Own: true, Once: true, shape: shapeMemory, measure: memory},
	{Name: "start", Title: "process start to first token", Own: true, Cold: true, shape: shapeDistinct, measure: start},
	{Name: "busy", Title: "beside a process that keeps one core busy", Own: true, shape: shapeDistinct, measure: busy},
	{Name: "idle", Title: "distinct prompts, a cache full of idle prefixes", OnlyAim: true, Own: true, shape: shapeDistinct, measure: idle},
	{Name: "modulated", Title: "modulated answers", OnlyAim: true, shape: shapeModulated, measure: modulated},
	{Name: "tiers", Title: "eight tiers in one batch", OnlyAim: true, shape: shapeDistinct, measure: tiers},
}

// Names are the names of all scenarios.
func Names() (names []string) {
	for _, s := range Scenarios {
		names = append(names, s.Name)
	}
	return names
}

// Find returns the scenarios of the given names, in the order of reports; all of them for none.
func Find(names []string) ([]*Scenario, error) {
	for _, n := range names {
		if !slices.Contains(Names(), n) {
			return nil, fmt.Errorf("%q is none of %s", n, strings.Join(Names(), ", "))
		}
	}
	var found []*Scenario
	for _, s := range Scenarios {
		if len(names) == 0 || slices.Contains(names, s.Name) {
			found = append(found, s)
		}
	}
	return found, nil
}

// Measure puts the scenario to a server and records its cases.
func (s *Scenario) Measure(ctx context.Context, r *Run) error { return s.measure(ctx, r) }

// Check refuses options that no server can be measured with.
func (o *Options) Check() error {
	for _, b := range []struct {
		name         string
		value        int
		least, upper int
	}{
		{"requests", o.Requests, 1, 10000},
		{"slots", o.Slots, 1, MaxClients},
		{"prompt", o.Prompt, 1, 1 << 20},
		{"answer", o.Answer, 1, 1 << 20},
		{"prefix", o.Prefix, 1, 1 << 20},
		{"long", o.Long, 1, 1 << 20},
	} {
		if b.value < b.least || b.value > b.upper {
			return fmt.Errorf("%s is %d: want %d to %d", b.name, b.value, b.least, b.upper)
		}
	}
	if len(o.Clients) == 0 {
		return fmt.Errorf("clients are missing: want numbers from 1 to %d", MaxClients)
	}
	for _, n := range o.Clients {
		if n < 1 || n > MaxClients {
			return fmt.Errorf("%d clients: want 1 to %d", n, MaxClients)
		}
	}
	return nil
}

// clients words a number of clients.
func clients(n int) string {
	if n == 1 {
		return "1 client"
	}
	return fmt.Sprintf("%d clients", n)
}
