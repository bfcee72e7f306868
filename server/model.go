package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"aim/internal/chat"
	"aim/internal/toolcall"
	"aim/llama"
	"aim/sampler"
)

// Model is what a name in /v1/models serves.
type Model struct {
	// ID is the name, and Description what its owner says of it.
	ID, Description string
	// Base names what gives the rows of logits, the file and its adapters: models of one base and σ share their noise, so that who may use several of them
	// learns no more than who may use one. Default ID.
	Base string
	// Engine runs it; several models may share one.
	Engine *llama.Engine
	// Adapters is the set of adapters that it is computed under; see [llama.Adapter]. Models of one engine may differ in nothing else.
	Adapters llama.AdapterSet
	// Template renders its conversations; without one the model only completes text.
	Template *chat.Template
	// BOS and EOS are the spellings of the tokens that begin and end a sequence, told to clients; "" where the model has none.
	BOS, EOS string
	// Created is told to clients.
	Created time.Time
	// Sigma ≥ 0 is the utility modulation imposed on all requests, in logits. A request may raise it, not lower it,
	// and only to the next of a few coarse steps (see coarse).
	Sigma float64
	// Scope is what utility noise depends on; see [sampler.Scope]. Where it is a window, requests for log-probabilities, or
	// for the prompt to be echoed, are refused while there is noise.
	Scope sampler.Scope
	// EndNoise is what utility noise does to the tokens that end an answer.
	EndNoise sampler.EndNoise
	// Level in (0, 1) is the level that the owner asked for and of which Sigma is the σ; 0 where the owner gave σ itself.
	Level float64
	// Report lets requests see what tells about raw rows although utility is imposed: the figures of reports that otherwise are
	// null, and previews. Where none is imposed they always may.
	Report bool
	// Facts are told to clients.
	Facts Facts
	// Policy is what requests may ask of the model.
	Policy Policy
	// Load keeps the model in memory until release is called, for each request; it is loaded first where it is not there. What it returns takes the place of the
	// Model, which needs neither an Engine nor what comes of it where it is not loaded yet. nil for one that is always there.
	Load func(ctx context.Context) (m Model, release func(), err error)
	// Embedder gives vectors of texts, under the same adapters; nil gives none. A model's hidden state times its output matrix is the raw row of logits, so whoever
	// imposes utility should think twice.
	Embedder llama.Embedder
	// Dial is the model's calibration; without one no request can ask for a level.
	Dial Dial
}

// Facts are what a file says of its model. What is zero is not told.
type Facts struct {
	// File is the file's name, without its folder.
	File string
	// Context is the number of tokens the model was trained on at once, Parameters that of its weights and Size that of their bytes.
	Context    int
	Parameters uint64
	Size       int64
	// Served is the most tokens of a prompt and its answer, for a model that is not loaded.
	Served int
}

// LoadError says that a model could not be loaded.
type LoadError struct {
	// RetryAfter is when it is worth trying again.
	RetryAfter time.Duration
	// Err is the reason, which clients are not told.
	Err error
}

func (e *LoadError) Error() string { return "load the model: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *LoadError) Unwrap() error { return e.Err }

// base is what the model's noise is named by.
func (m *Model) base() string {
	if m.Base == "" {
		return m.ID
	}
	return m.Base
}

// context is the most tokens of a prompt and its answer.
func (m *Model) context() int {
	most := m.Facts.Served
	if m.Engine != nil {
		most = m.Engine.Config().Context
	}
	if m.Policy.Context > 0 {
		most = min(most, m.Policy.Context)
	}
	return most
}

// info is what clients are told of the model.
func (m *Model) info() modelInfo {
	meta := modelMeta{0, m.Facts.Context, m.Facts.Parameters, m.Facts.Size}
	if m.Engine != nil {
		meta.Vocab = m.Engine.Model().Vocab()
	}
	return modelInfo{m.ID, "model", m.Created.Unix(), "aim", m.context(), meta, m.Description}
}

// served is a loaded Model with what is derived from it.
type served struct {
	Model
	*compiled
	fingerprint string
	breakers    breakers
	// engine is what all models of an engine share.
	*engine
	// format is how the template's model spells calls, and thoughtful says that it may think before it answers.
	format     toolcall.Format
	thoughtful bool
	// vectors has the places of requests for vectors, as many as answers have.
	vectors gate
}

// engine is what is kept for an engine.
type engine struct {
	// words are the engine's, for grammars.
	words *vocabularies
	// places are those for answers.
	places *gate
}

// engines keeps what belongs to each engine while a model is served on it.
type engines struct {
	mu   sync.Mutex
	list map[*llama.Engine]*engine
}

// of returns what belongs to an engine, made where it is new.
func (l *engines) of(e *llama.Engine) *engine {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.list == nil {
		l.list = map[*llama.Engine]*engine{}
	}
	if l.list[e] == nil {
		l.list[e] = &engine{newVocabularies(e.Model()), newGate(e.Config())}
	}
	return l.list[e]
}

// keep forgets the engines that are not in use.
func (l *engines) keep(used map[*llama.Engine]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := range l.list {
		if !used[e] {
			delete(l.list, e)
		}
	}
}

// derive makes a loaded model ready to serve. secret keeps clients from guessing what the fingerprint is made of.
func (s *Server) derive(m Model, c *compiled, secret []byte) *served {
	one := &served{Model: m, compiled: c, fingerprint: fingerprint(m, secret), engine: s.engines.of(m.Engine)}
	size := m.Engine.Config()
	one.vectors = gate{free: size.Slots + size.Queue}
	one.format, one.thoughtful = speech(m.Template)
	return one
}

// fingerprint changes when the same request may be answered otherwise: with the model, its size or what is imposed on it. It tells none of that.
func fingerprint(m Model, secret []byte) string {
	h := hmac.New(sha256.New, secret)
	fmt.Fprintf(h, "fingerprint %q %d %d %v %v %v %d", m.ID, m.Engine.Model().Vocab(), m.Engine.Config().Context, m.Sigma, m.Scope, m.EndNoise, m.Adapters)
	return "fp_" + hex.EncodeToString(h.Sum(nil)[:5])
}
