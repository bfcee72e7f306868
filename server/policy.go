package server

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"

	"aim/sampler"
)

// This file decides who sets what. Utility is the owner's: the served model imposes it, and a request may ask for a
// larger σ or a smaller level, which lower quality, but not for the other way (see utility.go). Where nothing is imposed, the caller is the owner. The draw and
// the focus are the caller's. The owner's secret meets utility only, and the caller's seed never does.

// showsRaw says whether requests may see what tells about raw rows: flips, retention and divergence in reports, and previews.
// They undo an imposed utility, which is why its owner decides.
func (m *served) showsRaw() bool { return m.Sigma == 0 || m.Report }

// hides refuses what showsRaw forbids.
func (m *served) hides(what string) error {
	return &apiError{
		status: http.StatusForbidden, kind: typePermission, param: "model", code: "report_not_allowed",
		message: fmt.Sprintf("the model %s does not show %s", m.ID, what),
	}
}

// newSeed draws a seed for a request without one.
func newSeed() seed {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return seed{value: binary.LittleEndian.Uint64(b[:])}
}

// choice is the seed of the i-th draw from one prompt: that of the first is the caller's own, so that n does not change it.
func (s seed) choice(i int) uint64 {
	if i == 0 {
		return s.value
	}
	// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) sets the draws of neighbouring seeds apart.
	z := s.value + uint64(i)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// focusKey is the key of a request's focus. Without a seed it comes from the request itself, so that asking again averages
// nothing away.
func (s seed) focusKey(prompt []sampler.Token, focus []sampler.Focus, spans ...sampler.Span) sampler.Key {
	if s.given || len(focus)+len(spans) == 0 {
		return sampler.FocusKey(s.value)
	}
	h := sha256.New()
	add := func(n uint64) { h.Write(binary.LittleEndian.AppendUint64(nil, n)) }
	tokens := func(list []sampler.Token) {
		add(uint64(len(list)))
		for _, t := range list {
			add(uint64(t))
		}
	}
	tokens(prompt)
	for _, f := range focus {
		add(uint64(f.Direction))
		add(math.Float64bits(f.Sigma))
		add(uint64(len(f.Targets))) // 0 for all
		for _, target := range f.Targets {
			tokens(target)
		}
		if f.Words != nil {
			add(math.Float64bits(f.Strength))
			add(uint64(len(f.Words.String())))
			h.Write([]byte(f.Words.String()))
		}
	}
	for _, s := range spans {
		add(math.Float64bits(s.Strength))
		tokens(s.Without)
	}
	return sampler.FocusKey(binary.LittleEndian.Uint64(h.Sum(nil)))
}
