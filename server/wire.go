package server

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"aim/llama"
)

// wire is what an endpoint's JSON looks like: the parts of a stream, and a whole answer. Its methods return what is to be
// encoded; they are called from one goroutine.
type wire interface {
	// open is the first chunk of choice i, nil where the endpoint has none.
	open(i int, usage usageField) any
	// text is a chunk of choice i with text, tokens or both.
	text(i int, text string, tokens []llama.Sampled, usage usageField) any
	// finish is the last chunk of choice i.
	finish(i int, f llama.Finish, usage usageField) any
	// end is the chunk with the usage, after all choices.
	end(usage usageField) any
	// whole is the answer in one piece.
	whole(answers []answer, usage usageField) any
}

// head is what all chunks of an answer have in common.
type head struct {
	ID          string `json:"id"`
	Object      string `json:"object"`
	Created     int64  `json:"created"`
	Model       string `json:"model"`
	Fingerprint string `json:"system_fingerprint"`
}

func newHead(id, object string, m *served) head {
	return head{id, object, time.Now().Unix(), m.ID, m.fingerprint}
}

// newID is a name that no other answer has.
func newID(prefix string) string { return prefix + strings.ToLower(rand.Text()) }

// usageField is what stands beside the choices. Usage is left out where it is nil, and null where it holds a nil *usage; Aim is
// left out where it is nil.
type usageField struct {
	Usage any       `json:"usage,omitempty"`
	Aim   *aimField `json:"aim,omitempty"`
}

// usage counts the tokens of a request; each prompt counts once, however many choices answer it.
type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`

	// flips and hits are for the log.
	flips, hits uint64
}

// answer is one choice, whole.
type answer struct {
	text   strings.Builder
	tokens []llama.Sampled
	finish llama.Finish
}

// fingerprint changes when the same request may be answered otherwise: with the model, its size or what is imposed on it.
func fingerprint(m Model) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %d %d %v %v %v", m.ID, m.Engine.Model().Vocab(), m.Engine.Config().Context, m.Sigma, m.Scope, m.EndNoise))
	return "fp_" + hex.EncodeToString(sum[:5])
}
