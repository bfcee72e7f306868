package sampler

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// The noise of a token is read from AES-256 in counter mode. The block that is encrypted is
//
//	bytes 0–10   the first 88 bits of the context's digest
//	byte  11     the token's chunk, token / 4096
//	bytes 12–15  2 + (token mod 4096) / 4, big endian
//
// and the four 32-bit words of its encryption are the uniforms of four neighbouring tokens. That is the key stream of GCM with
// the first twelve bytes as nonce (NIST SP 800-38D, whose text counter starts at 2), so a whole chunk comes from one
// call of the processor's fastest AES code, without allocation, while any single token costs one block.
const (
	contextBytes = 11
	chunkTokens  = 4096
	chunkBytes   = chunkTokens * wordBytes
	firstCounter = 2
	wordBytes    = 4
	blockTokens  = aes.BlockSize / wordBytes
	gcmTag       = 16

	// maxVocab is the number of tokens that the chunk byte can tell apart.
	maxVocab = 256 * chunkTokens
)

// chain is the context: SHA-256 over the digest before and the new token, from 32 zero bytes on, prompt included. It needs
// no key since the cipher has one; two contexts with equal digests would share their noise, which reveals no more than
// the difference of their rows.
type chain struct {
	link [sha256.Size + wordBytes]byte
}

func (c *chain) push(t Token) {
	binary.LittleEndian.PutUint32(c.link[sha256.Size:], uint32(t))
	digest := sha256.Sum256(c.link[:])
	copy(c.link[:], digest[:])
}

// field is the noise of one key in the context that chain has reached, token by token. The buffers live in it because what
// passes through the cipher's interfaces would otherwise be allocated at each step.
type field struct {
	context *chain
	block   cipher.Block
	in, out [aes.BlockSize]byte
}

func newField(k Key, context *chain) (*field, error) {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		return nil, fmt.Errorf("sampler: noise cipher: %w", err)
	}
	return &field{context: context, block: block}, nil
}

// uniform is the 32-bit uniform of one token.
func (f *field) uniform(t Token) uint32 {
	copy(f.in[:contextBytes], f.context.link[:])
	f.in[contextBytes] = byte(t / chunkTokens)
	binary.BigEndian.PutUint32(f.in[contextBytes+1:], firstCounter+uint32(t)%chunkTokens/blockTokens)
	f.block.Encrypt(f.out[:], f.in[:])
	return binary.LittleEndian.Uint32(f.out[t%blockTokens*wordBytes:])
}

// at is ε(token) ~ N(0,1).
func (f *field) at(t Token) float64 { return normal(f.uniform(t)) }

// rowField is a field for whole rows. It equals the field of the same key and context, token by token.
type rowField struct {
	context *chain
	gcm     cipher.AEAD
	nonce   [contextBytes + 1]byte
	stream  [chunkBytes + gcmTag]byte
}

func newRowField(k Key, context *chain) (*rowField, error) {
	f, err := newField(k, context)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(f.block)
	if err != nil {
		return nil, fmt.Errorf("sampler: noise stream: %w", err)
	}
	return &rowField{context: context, gcm: gcm}, nil
}

// uniforms returns the uniforms of n ≤ chunkTokens tokens from chunk·chunkTokens on, as little-endian words.
func (f *rowField) uniforms(chunk, n int) []byte {
	copy(f.nonce[:contextBytes], f.context.link[:])
	f.nonce[contextBytes] = byte(chunk)
	text := f.stream[:n*wordBytes]
	clear(text)
	f.gcm.Seal(text[:0], f.nonce[:], text, nil)
	return text
}

// add performs zᵢ ← zᵢ + σ·εᵢ.
func (f *rowField) add(row []float32, sigma float64) {
	for chunk := 0; len(row) > 0; chunk++ {
		part := row[:min(len(row), chunkTokens)]
		u := f.uniforms(chunk, len(part))
		for i, z := range part {
			w := binary.LittleEndian.Uint32(u)
			u = u[wordBytes:]
			part[i] = float32(float64(z) - signed(sigma, w)*lowerQuantile(fold(w))) // σ·normal(w), inlined
		}
		row = row[len(part):]
	}
}

// addAbs performs zᵢ ← zᵢ + s·|εᵢ|; s carries the sign.
func (f *rowField) addAbs(row []float32, s float64) {
	for chunk := 0; len(row) > 0; chunk++ {
		part := row[:min(len(row), chunkTokens)]
		u := f.uniforms(chunk, len(part))
		for i, z := range part {
			w := binary.LittleEndian.Uint32(u)
			u = u[wordBytes:]
			part[i] = float32(float64(z) - s*lowerQuantile(fold(w))) // s·halfNormal(w), inlined
		}
		row = row[len(part):]
	}
}
