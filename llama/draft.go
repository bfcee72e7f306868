package llama

import (
	"math/bits"

	"aim/sampler"
)

// lookup guesses what continues an answer: what followed the last time its latest tokens occurred, in the prompt, in the
// answer itself or in a text that the request predicts (prompt lookup decoding, a form of speculation that needs no second
// model: Saxena 2023; Yang et al. 2023, arXiv 2304.04487). It keeps the places of all pairs of tokens in chains, the latest
// first, as LZ77 compressors do, and follows the longest match; see [lookup.add].
//
// Each token of the answer also tests what would have been guessed, whether or not that was decoded: so it is known how
// good guesses are before any is tried.
type lookup struct {
	// text is what is looked in: the predicted text and a separator, if there is one, then the prompt and the answer. In place of
	// what would end an answer it has the separator, too.
	text []sampler.Token
	// heads has for each hash of two tokens the latest place after such a pair, and older for each place the one before it
	// in the same chain; 0 for none. A place is an index into text.
	heads []int32
	older []int32
	shift int
	// at is the place whose token is expected next, -1 for none, and match how many tokens before it are those before the end.
	at, match int
	// own tells how good guesses were in this answer.
	own chances
}

const (
	// longestMatch is the most tokens by which matches are told apart.
	longestMatch = 64
	// mostCandidates is how many places are compared: the latest ones count most, and a frequent pair has very many.
	mostCandidates = 32
	// separator is no token.
	separator sampler.Token = -1
	// predictedMatch is as how many tokens a request's word counts that its answer begins with the predicted text.
	predictedMatch = 8
)

// newLookup returns the lookup of an answer to prompt that is expected to have up to room tokens, and to be like predicted.
// What would end an answer is never guessed.
func newLookup(m Model, prompt, predicted []sampler.Token, room int) *lookup {
	text := func(t sampler.Token) sampler.Token {
		if m.Kind(t) == End {
			return separator
		}
		return t
	}
	n := len(predicted) + 1 + len(prompt) + min(room, 256)
	l := &lookup{at: -1, text: make([]sampler.Token, 0, n), older: make([]int32, 0, n)}
	l.resize(n)
	if len(predicted) > 0 {
		for _, t := range predicted {
			l.append(text(t))
		}
		l.append(separator)
	}
	for _, t := range prompt {
		l.append(text(t))
	}
	if l.find(); l.at < 0 && len(predicted) > 0 {
		l.at, l.match = 0, predictedMatch
	}
	return l
}

// add appends a token of the answer, and finds the place that continues it. Where the guess was right, that is the next
// place: no longer match can have come to be, since without the last token it would have been the longest before. It
// allocates only to grow.
func (l *lookup) add(t sampler.Token) {
	right := false
	if l.at >= 0 {
		right = l.text[l.at] == t
		l.own.learn(matchClass(l.match), right)
	}
	l.append(t)
	if right && l.text[l.at+1] != separator {
		l.at++
		l.match++
		return
	}
	l.find()
}

// append adds a token to the text, and the place before it to the chain of the pair that it follows.
func (l *lookup) append(t sampler.Token) {
	l.text = append(l.text, t)
	l.older = append(l.older, 0)
	// The place after the newest pair is known once there is a token in it.
	if i := len(l.text) - 1; i >= 2 {
		l.chain(i)
	}
	if len(l.text) > len(l.heads) {
		l.resize(2 * len(l.text))
	}
}

// chain makes a place the latest of its pair.
func (l *lookup) chain(i int) {
	h := l.hash(i)
	l.older[i] = l.heads[h]
	l.heads[h] = int32(i) //nolint:gosec // a context has fewer than 2³¹ tokens
}

// hash is that of the pair before a place.
func (l *lookup) hash(i int) uint32 {
	a, b := uint32(l.text[i-2]), uint32(l.text[i-1]) //nolint:gosec // only bits
	return (a*0x9e3779b1 ^ b*0x85ebca77) * 0xc2b2ae3d >> l.shift
}

// resize makes chains for n places.
func (l *lookup) resize(n int) {
	size := bits.Len(uint(max(n, 16))) //nolint:gosec // positive
	l.heads, l.shift = make([]int32, 1<<size), 32-size
	for i := 2; i < len(l.text); i++ {
		l.chain(i)
	}
}

// find looks for the longest match of the end of the text; of several the latest.
func (l *lookup) find() {
	l.at, l.match = -1, 0
	end := len(l.text)
	if end < 3 {
		return
	}
	c := l.heads[l.hash(end)]
	for range mostCandidates {
		if c == 0 || l.match >= longestMatch {
			return
		}
		if n := l.common(int(c), end); n >= 2 && n > l.match && l.text[c] != separator {
			l.at, l.match = int(c), n
		}
		c = l.older[c]
	}
}

// common is how many tokens before place c are those before end, up to longestMatch.
func (l *lookup) common(c, end int) int {
	n := 0
	for n < longestMatch && n < c && l.text[c-1-n] == l.text[end-1-n] {
		n++
	}
	return n
}

// reach is how many tokens ahead draft can tell, up to most.
func (l *lookup) reach(most int) int {
	if l.at < 0 {
		return 0
	}
	for k := range most {
		if l.draft(k) == separator {
			return k
		}
	}
	return max(most, 0)
}

// draft returns the token guessed k places ahead: that of the next place is 0. What is followed may reach the end of
// the text, where it goes on with itself: an answer in a loop.
func (l *lookup) draft(k int) sampler.Token {
	period := len(l.text) - l.at
	return l.text[l.at+k%period]
}

// chances are the shares of guesses that were right, by class: of the length of a match, or of a Drafter's confidence. The past fades. The
// zero value knows nothing.
type chances struct{ right, all [matchClasses]float32 }

// matchClasses is the number of classes of lengths.
const matchClasses = 12

// fading is by how much an older guess counts less than the next: those that count are about the last 1/fading of a class.
const fading = 1.0 / 64

// matchClass is the class of a length: narrow where lengths matter most.
func matchClass(match int) int {
	for class, most := range [matchClasses - 1]int{2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64} {
		if match <= most {
			return class
		}
	}
	return matchClasses - 1
}

// beforehand is what is believed of each class before anything is known of a model.
var beforehand = [matchClasses]float32{0.25, 0.4, 0.5, 0.65, 0.75, 0.85, 0.9, 0.94, 0.96, 0.97, 0.98, 0.98}

// learn counts one guess.
func (c *chances) learn(class int, right bool) {
	c.right[class] *= 1 - fading
	c.all[class] = c.all[class]*(1-fading) + 1
	if right {
		c.right[class]++
	}
}

// of is the chance of a guess, where what is told by prior counts as weight guesses.
func (c *chances) of(class int, prior, weight float32) float32 {
	return (c.right[class] + weight*prior) / (c.all[class] + weight)
}

// merge adds what an answer told.
func (c *chances) merge(o *chances) {
	for i := range c.all {
		// As many guesses as o's fade what was there.
		keep := 1 / (1 + o.all[i]*fading)
		c.right[i] = c.right[i]*keep + o.right[i]
		c.all[i] = c.all[i]*keep + o.all[i]
	}
}
