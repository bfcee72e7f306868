package eval

import (
	"math/big"
	"regexp"
	"strings"
)

// numbers finds numbers in text: an optional sign, digits that commas may group, an optional fraction.
var numbers = regexp.MustCompile(`-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?`)

// Extract finds the number that an answer comes to: the first one behind "####", the mark of GSM8K's own solutions, or else
// the last one. It is "" where there is none.
func Extract(answer string) string {
	if _, marked, ok := strings.Cut(answer, "####"); ok {
		if n := numbers.FindString(marked); n != "" {
			return n
		}
	}
	all := numbers.FindAllString(answer, -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// number is the value of a number as people write it.
func number(text string) (*big.Rat, bool) {
	text = strings.TrimPrefix(strings.ReplaceAll(strings.TrimSpace(text), ",", ""), "$")
	if numbers.FindString(text) != text || text == "" {
		return nil, false // fractions and exponents, which Rat would read, among others
	}
	return new(big.Rat).SetString(text)
}

// SameNumber tells whether two numbers have the same value, whatever commas, currency and zeros they are written with.
func SameNumber(a, b string) bool {
	x, okX := number(a)
	y, okY := number(b)
	return okX && okY && x.Cmp(y) == 0
}
