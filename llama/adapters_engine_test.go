package llama_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// An answer under a set is the same alone and beside answers under other sets, whose prompts are the same, also where the cache
// overflows; and no two sets give the same.
func TestSetsDoNotMix(t *testing.T) {
	const sets, length = 3, 40
	alone := start(t, llama.Config{Slots: 1, Context: 256, Batch: 64}, llamatest.Options{Sets: sets})
	request := func(i int, set llama.AdapterSet) llama.Request {
		with, _ := spanned(t, i%2, 0.5) // a twin each: 2 × (60 + 40) tokens
		if i%3 == 0 {
			with.Params.Spans = nil
		}
		with.Adapters, with.MaxTokens = set, length
		return with
	}
	for name, cells := range map[string]int{"room for all": 0, "a full cache": 500} {
		t.Run(name, func(t *testing.T) {
			e := start(t, llama.Config{Slots: 6, Context: 256, Batch: 64, Chunk: 8, Queue: 64}, llamatest.Options{Sets: sets, Cells: cells})
			wide := start(t, llama.Config{Slots: 2, Context: 256, Batch: 64}, llamatest.Options{Sets: sets})
			var wg sync.WaitGroup
			for i := range 12 {
				wg.Go(func() {
					set := llama.AdapterSet(i % sets)
					got := generate(t.Context(), e, request(i, set))
					want := generate(t.Context(), wide, request(i, set))
					if errors.Is(want.err, llama.ErrBusy) {
						want = retry(t.Context(), wide, request(i, set))
					}
					if got.err != nil || len(got.tokens) != length || !slices.Equal(got.tokens, want.tokens) {
						t.Errorf("request %d of set %d: %v, error %v; alone %v, error %v", i, set, got.tokens, got.err, want.tokens, want.err)
					}
				})
			}
			wg.Wait()
		})
	}
	seen := map[string]llama.AdapterSet{}
	for set := range llama.AdapterSet(sets) {
		r := request(0, set)
		answer := fmt.Sprint(generate(t.Context(), alone, r).tokens)
		if other, ok := seen[answer]; ok {
			t.Errorf("sets %d and %d give the same answer", other, set)
		}
		seen[answer] = set
	}
}

// retry asks until there is a place.
func retry(ctx context.Context, e *llama.Engine, r llama.Request) (res result) {
	for {
		if res = generate(ctx, e, r); !errors.Is(res.err, llama.ErrBusy) {
			return res
		}
	}
}

func TestUnknownSetIsRefused(t *testing.T) {
	two := start(t, llama.Config{Slots: 1, Context: 64}, llamatest.Options{Sets: 2})
	plain := llama.New(fake, decodeOnly{llamatest.NewDecoder(fake, llamatest.Options{})}, llama.Config{})
	for _, c := range []struct {
		e    *llama.Engine
		set  llama.AdapterSet
		want string
	}{{two, 2, "in [0, 1]"}, {two, -1, "in [0, 1]"}, {plain, 1, "in [0, 0]"}} {
		err := generate(t.Context(), c.e, llama.Request{Prompt: tokens(t, "a"), Adapters: c.set}).err
		domain := new(sampler.DomainError)
		if !errors.As(err, &domain) || domain.Param != "adapters" || domain.Want[:len(c.want)] != c.want {
			t.Errorf("set %d: error %v", c.set, err)
		}
	}
}

// decodeOnly is a driver that knows no adapters.
type decodeOnly struct{ llama.Decoder }

// A set that cannot be put in force ends the sequences of that decode, and no others.
func TestFailedAdapt(t *testing.T) {
	e := llama.New(fake, &broken{llamatest.NewDecoder(fake, llamatest.Options{Slots: 2, Sets: 2})}, llama.Config{Slots: 2})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	var wg sync.WaitGroup
	for set := range llama.AdapterSet(2) {
		wg.Go(func() {
			got := generate(t.Context(), e, llama.Request{Prompt: tokens(t, "abc"), MaxTokens: 30, Adapters: set})
			failed := new(llama.DecodeError)
			if set == 1 && !errors.As(got.err, &failed) || set == 0 && (got.err != nil || len(got.tokens) == 0) {
				t.Errorf("set %d: error %v", set, got.err)
			}
		})
	}
	wg.Wait()
}

// broken is a driver whose set 1 cannot be put in force.
type broken struct{ *llamatest.Decoder }

func (b *broken) Adapt(set llama.AdapterSet) error {
	if set == 1 {
		return errors.New("out of memory")
	}
	return b.Decoder.Adapt(set)
}
