package sampler

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math"
)

// Key selects a noise field. Its first half is the key of the cipher; the whole derives others.
type Key [sha256.Size]byte

// The labels keep the domains of the keys apart: no utility key equals a focus key, whatever their inputs.
const (
	utilityLabel = "aim utility noise 1"
	windowLabel  = "aim utility noise in a window 1"
	// fingerprintLabel is for the hash of the prompt in a window's context.
	fingerprintLabel = "aim prompt fingerprint 1"
	focusLabel       = "aim focus noise 1"
	entryLabel       = "aim focus entry 1"
	blendLabel       = "aim utility blend 1"
	spanLabel        = "aim focus span 1"
)

// UtilityKey derives the key of a virtual model's utility noise from the owner's secret, the model's name and σ:
//
//	HMAC-SHA256(secret, label ‖ len(model) ‖ model ‖ bits(σ))
//
// It is that of the zero [Scope]; see [Scope.Key] for another. σ is part of it because two σ over one field, together with log-probabilities, could be solved for the raw logits.
func UtilityKey(secret []byte, model string, sigma float64) Key {
	return derive(secret, appendModel([]byte(utilityLabel), model, sigma))
}

func appendModel(msg []byte, model string, sigma float64) []byte {
	msg = binary.LittleEndian.AppendUint64(msg, uint64(len(model)))
	msg = append(msg, model...)
	return binary.LittleEndian.AppendUint64(msg, math.Float64bits(sigma))
}

// FocusKey derives the key of focus noise from a request's seed: HMAC-SHA256(label, seed). Nothing in it is secret.
func FocusKey(seed uint64) Key {
	return derive([]byte(focusLabel), binary.LittleEndian.AppendUint64(nil, seed))
}

// entry derives the key of the i-th focus of a request, so that its entries have independent noise.
func (k Key) entry(i int) Key {
	return derive(k[:], binary.LittleEndian.AppendUint64([]byte(entryLabel), uint64(i)))
}

// blend derives the key of the noise that a blend of noisy rows is given; see [Span].
func (k Key) blend() Key { return derive(k[:], []byte(blendLabel)) }

// span derives the key of the i-th span of a request.
func (k Key) span(i int) Key {
	return derive(k[:], binary.LittleEndian.AppendUint64([]byte(spanLabel), uint64(i)))
}

func derive(key, msg []byte) Key {
	h := hmac.New(sha256.New, key)
	h.Write(msg)
	return Key(h.Sum(nil))
}
