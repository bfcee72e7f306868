package sampler

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// The noise of a token is read from AES-128 in counter mode, under the first half of the key, from two planes. The byte plane has one byte per token, the
// leading bits of its uniform, which bound its noise; the word plane has a 32-bit word per token, whose upper 24 bits complete it. The block that is
// encrypted is
//
//	bytes 0–10   the first 88 bits of the context's digest
//	byte  11     token / 8192, plus 128 in the word plane
//	bytes 12–15  2 + (token mod 8192) / n, big endian, n = 16 tokens a block in the byte plane and 4 in the word plane
//
// and a token has the (token mod n)-th byte, or little-endian word, of its encryption. That is the key stream of GCM with the
// first twelve bytes as nonce (NIST SP 800-38D, whose text counter starts at 2), so a whole chunk of a plane comes from
// one call of the processor's fastest AES code, without allocation, while any single token costs one block of each.
const (
	keyBytes     = 16
	contextBytes = 11
	nonceBytes   = contextBytes + 1
	chunkTokens  = 8192
	wordPlane    = 1 << 7
	firstCounter = 2
	wordBytes    = 4
	gcmTag       = 16

	// maxVocab is the number of tokens that the nonce's last byte can tell apart.
	maxVocab = wordPlane * chunkTokens
)

// digest identifies a context.
type digest = [sha256.Size]byte

// chain is the context of all tokens so far: SHA-256 over the digest before and the new token, from 32 zero bytes on, prompt
// included. It needs no key since the cipher has one; two contexts with equal digests would share their noise, which
// reveals no more than the difference of their rows.
type chain struct {
	link [sha256.Size + wordBytes]byte
}

func (c *chain) push(t Token) {
	binary.LittleEndian.PutUint32(c.link[sha256.Size:], uint32(t))
	d := sha256.Sum256(c.link[:])
	copy(c.link[:], d[:])
}

// digest is where the current one is found.
func (c *chain) digest() *digest { return (*digest)(c.link[:]) }

// field is the noise of one key in the context that a digest tells, token by token. The buffers live in it because what
// passes through the cipher's interfaces would otherwise be allocated at each step.
type field struct {
	context *digest
	block   cipher.Block
	in, out [aes.BlockSize]byte

	bytes   [aes.BlockSize]byte // the block of the byte plane that was used last
	bytesOf int                 // its number, token/16, or -1
}

func newField(k Key, context *chain) (*field, error) { return newFieldAt(k, context.digest()) }

func newFieldAt(k Key, context *digest) (*field, error) {
	block, err := aes.NewCipher(k[:keyBytes])
	if err != nil {
		return nil, fmt.Errorf("sampler: noise cipher: %w", err)
	}
	return &field{context: context, block: block, bytesOf: -1}, nil
}

// load turns to the context as it is now, for hi and complete.
func (f *field) load() {
	copy(f.in[:contextBytes], f.context[:])
	f.bytesOf = -1
}

// encrypt makes a block of a plane: the one of a token, where the plane has n tokens a block.
func (f *field) encrypt(out *[aes.BlockSize]byte, plane byte, t Token, n int) {
	f.in[contextBytes] = plane + byte(t/chunkTokens)
	binary.BigEndian.PutUint32(f.in[nonceBytes:], uint32(firstCounter+int(t)%chunkTokens/n))
	f.block.Encrypt(out[:], f.in[:])
}

// hi is the leading byte of a token's uniform.
func (f *field) hi(t Token) byte {
	if int(t)/aes.BlockSize != f.bytesOf {
		f.encrypt(&f.bytes, 0, t, aes.BlockSize)
		f.bytesOf = int(t) / aes.BlockSize
	}
	return f.bytes[t%aes.BlockSize]
}

// complete is the uniform of a token whose leading byte is known.
func (f *field) complete(t Token, hi byte) uint32 {
	const n = aes.BlockSize / wordBytes
	f.encrypt(&f.out, wordPlane, t, n)
	return join(hi, binary.LittleEndian.Uint32(f.out[t%n*wordBytes:]))
}

// join makes a uniform of its byte and its word.
func join(hi byte, word uint32) uint32 { return uint32(hi)<<wordBits | word>>(32-wordBits) }

// uniform is the uniform of one token.
func (f *field) uniform(t Token) uint32 {
	f.load()
	return f.complete(t, f.hi(t))
}

// at is ε(token) ~ N(0,1).
func (f *field) at(t Token) float64 { return normal(f.uniform(t)) }

// rowField is a field for whole rows, too.
type rowField struct {
	field
	gcm   cipher.AEAD
	nonce [nonceBytes]byte
	his   [chunkTokens + gcmTag]byte
	words [chunkTokens*wordBytes + gcmTag]byte
}

func newRowField(k Key, context *chain) (*rowField, error) { return newRowFieldAt(k, context.digest()) }

func newRowFieldAt(k Key, context *digest) (*rowField, error) {
	f, err := newFieldAt(k, context)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(f.block)
	if err != nil {
		return nil, fmt.Errorf("sampler: noise stream: %w", err)
	}
	return &rowField{field: *f, gcm: gcm}, nil
}

// chunkHi returns the leading bytes of the n ≤ chunkTokens tokens from chunk·chunkTokens on, chunkLo their words.
func (f *rowField) chunkHi(chunk, n int) []byte { return f.stream(f.his[:n], byte(chunk)) }

func (f *rowField) chunkLo(chunk, n int) []byte {
	return f.stream(f.words[:n*wordBytes], wordPlane+byte(chunk))
}

// stream fills text with the key stream; there must be room for a tag behind it.
func (f *rowField) stream(text []byte, plane byte) []byte {
	copy(f.nonce[:contextBytes], f.context[:])
	f.nonce[contextBytes] = plane
	clear(text)
	f.gcm.Seal(text[:0], f.nonce[:], text, nil)
	return text
}

// noisy is z + σε. The conversions keep a compiler from fusing the two operations in one place and not in another: one token
// has one value, however it was computed.
func noisy(z float32, sigma, e float64) float32 { return float32(float64(z) + float64(sigma*e)) }

// group is the number of tokens that are made noisy at a time: those of a word of marks.
const group = 64

// add performs zᵢ ← zᵢ + σ·εᵢ for the tokens that are not marked in settled, a bit per token, and returns their number.
func (f *rowField) add(row []float32, sigma float64, settled []uint64) int {
	added := 0
	var kept [group]float32
	for lo := 0; lo < len(row); lo += chunkTokens {
		n := min(len(row)-lo, chunkTokens)
		his, words := f.chunkHi(lo/chunkTokens, n), f.chunkLo(lo/chunkTokens, n)
		for i := 0; i < n; i += group {
			done := settled[(lo+i)/group]
			added += group - bits.OnesCount64(done)
			if i+group > n {
				added -= i + group - n
				addRest(row[lo+i:lo+n], his[i:], words[i*wordBytes:], sigma, done)
				continue
			}
			part := (*[group]float32)(row[lo+i:])
			n := 0
			for d := done; d != 0; d &= d - 1 {
				kept[n%group] = part[bits.TrailingZeros64(d)%group]
				n++
			}
			addGroup(part, (*[group]byte)(his[i:]), (*[group * wordBytes]byte)(words[i*wordBytes:]), sigma)
			n = 0
			for d := done; d != 0; d &= d - 1 {
				part[bits.TrailingZeros64(d)%group] = kept[n%group]
				n++
			}
		}
	}
	return added
}

// addGroup performs zᵢ ← zᵢ + σ·εᵢ for a group of tokens. All get what the center says, 0 for those of the
// tail, which get theirs afterwards: a loop without calls keeps its variables in registers.
func addGroup(row *[group]float32, his *[group]byte, words *[group * wordBytes]byte, sigma float64) {
	_, _, _ = row[0], his[0], words[0] // so that the loop need not ask for nil
	var inTails uint64                 // center leaves these as they are
	for i := range row {
		hi := his[i]
		if inTail(hi) {
			inTails |= 1 << (i % group)
		}
		word := binary.LittleEndian.Uint32(words[i*wordBytes:])
		row[i] = noisy(row[i], sigma, center(join(hi, word)))
	}
	for ; inTails != 0; inTails &= inTails - 1 {
		i := bits.TrailingZeros64(inTails) % group
		word := binary.LittleEndian.Uint32(words[i*wordBytes:])
		row[i] = noisy(row[i], sigma, tail(join(his[i], word)))
	}
}

// addRest is addGroup for the last, incomplete group.
func addRest(row []float32, his, words []byte, sigma float64, settled uint64) {
	for i, z := range row {
		if settled>>i&1 == 0 {
			row[i] = noisy(z, sigma, normal(join(his[i], binary.LittleEndian.Uint32(words[i*wordBytes:]))))
		}
	}
}

// addAbs performs zᵢ ← zᵢ + s·|εᵢ|; s carries the sign.
func (f *rowField) addAbs(row []float32, s float64) {
	for chunk := 0; len(row) > 0; chunk++ {
		part := row[:min(len(row), chunkTokens)]
		his, words := f.chunkHi(chunk, len(part)), f.chunkLo(chunk, len(part))
		for i, z := range part {
			part[i] = noisy(z, s, halfNormal(join(his[i], binary.LittleEndian.Uint32(words[i*wordBytes:]))))
		}
		row = row[len(part):]
	}
}
