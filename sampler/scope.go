package sampler

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
)

// Scope says what utility noise depends on beside its key and the token: the context. The zero value is all tokens so far,
// prompt included. That never repeats, but a caller who changes the prompt in a way that does not matter, by a nonce or
// other words, gets a fresh sample of the noise, and an average over many samples tells the model's own best token.
//
// A window of h tokens bounds that: the context is the last h tokens and [FingerprintBits] bits of the prompt, so that
// whatever a caller rewords, one window has at most 2^FingerprintBits noise fields. The price is repetition: where an answer
// says the same h tokens again, it gets the same noise again.
type Scope struct {
	// Window in [0, 1024] is h in tokens; 0 is all tokens so far.
	Window int
}

// FingerprintBits is the size of the fingerprint of a prompt.
const FingerprintBits = 2

// Key derives the key of a virtual model's utility noise in this scope; see [UtilityKey]. For a window it is
//
//	HMAC-SHA256(secret, label ‖ h ‖ FingerprintBits ‖ len(model) ‖ model ‖ bits(σ))
//
// with a label of its own, so that the fields of two scopes have nothing to do with one another.
func (s Scope) Key(secret []byte, model string, sigma float64) Key {
	if s.Window == 0 {
		return UtilityKey(secret, model, sigma)
	}
	msg := append([]byte{}, windowLabel...)
	msg = binary.LittleEndian.AppendUint64(msg, uint64(s.Window))
	msg = binary.LittleEndian.AppendUint64(msg, FingerprintBits)
	return derive(secret, appendModel(msg, model, sigma))
}

// Fingerprint is that of a prompt under a key of utility noise, in [0, 2^FingerprintBits). Two prompts with the same one, and
// the same last tokens, have the same noise in a window.
func Fingerprint(k Key, prompt []Token) (int, error) {
	w, err := newWindow(1, k)
	if err != nil {
		return 0, err
	}
	for _, t := range prompt {
		w.prompt(t)
	}
	return int(w.fingerprint()), nil
}

// window is the history of a bounded scope. Its context is
//
//	SHA-256(fingerprint ‖ the last min(h, n) of the n tokens so far)
//
// with the fingerprint as one byte and the tokens, oldest first, as little-endian 32-bit integers.
//
// The fingerprint is a b-bit minwise hash (P. Li and A. C. König, "b-Bit Minwise Hashing", WWW'10): the elements of the prompt,
// which are its distinct tokens (shingles of one, the most robust against insertions), are hashed with AES under a key of their own, derived from the noise's, and the fingerprint is the
// lowest b bits of the smallest hash. Two prompts with Jaccard similarity J of their sets of tokens have the same one
// with probability J + (1-J)/2^b, over the keys.
type window struct {
	size    int
	recent  []Token // a ring: the i-th token so far is at i mod size
	n       int     // tokens so far
	hash    cipher.Block
	in, out [aes.BlockSize]byte
	least   uint64

	text    []byte // what is hashed, scratch
	context digest // of the tokens at the last refresh
}

func newWindow(size int, k Key) (*window, error) {
	key := derive(k[:], []byte(fingerprintLabel))
	hash, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("sampler: fingerprint cipher: %w", err)
	}
	return &window{
		size:   size,
		recent: make([]Token, size),
		hash:   hash,
		least:  math.MaxUint64,
		text:   make([]byte, 0, 1+wordBytes*size),
	}, nil
}

// see tells a token of the prompt or of the answer; without a window it does nothing.
func (w *window) see(t Token, prompt bool) {
	switch {
	case w == nil:
	case prompt:
		w.prompt(t)
	default:
		w.accept(t)
	}
}

func (w *window) prompt(t Token) {
	binary.LittleEndian.PutUint32(w.in[:], uint32(t))
	w.hash.Encrypt(w.out[:], w.in[:])
	w.least = min(w.least, binary.LittleEndian.Uint64(w.out[:]))
	w.accept(t)
}

func (w *window) accept(t Token) {
	w.recent[w.n%w.size] = t
	w.n++
}

// fingerprint is that of the prompt so far; of an empty one all its bits are 1.
func (w *window) fingerprint() byte { return byte(w.least & (1<<FingerprintBits - 1)) }

// refresh makes context that of the tokens so far.
func (w *window) refresh() {
	w.text = append(w.text[:0], w.fingerprint())
	for i := max(0, w.n-w.size); i < w.n; i++ {
		w.text = binary.LittleEndian.AppendUint32(w.text, uint32(w.recent[i%w.size]))
	}
	w.context = sha256.Sum256(w.text)
}
