package toolcall

import (
	"encoding/json"
	"strconv"
	"strings"
)

// python reads keyword arguments whose values are Python literals.
type python struct {
	text string
	at   int
}

// argument takes key=value, with the comma before it where comma is set, and returns its length; an empty key is the closing
// parenthesis. Text that the next byte could prolong is undecided.
func (s *python) argument(comma bool) (n int, key, value string, v verdict) {
	if s.peek() == ')' {
		return s.at + 1, "", "", matched
	}
	if comma {
		if v := s.next(','); v != matched {
			return 0, "", "", v
		}
		if s.peek() == ')' {
			return s.at + 1, "", "", matched
		}
	}
	s.blank()
	from := s.at
	for s.at < len(s.text) && (strings.IndexByte(literals, s.text[s.at]) >= 0) {
		s.at++
	}
	key = s.text[from:s.at]
	if v := s.next('='); v != matched || key == "" {
		if v == matched {
			v = refused
		}
		return 0, "", "", v
	}
	value, v = s.literal(0)
	return s.at, key, value, v
}

func (s *python) blank() {
	for s.at < len(s.text) && strings.IndexByte(space, s.text[s.at]) >= 0 {
		s.at++
	}
}

// peek is the next byte behind white space, zero at the end.
func (s *python) peek() byte {
	s.blank()
	if s.at == len(s.text) {
		return 0
	}
	return s.text[s.at]
}

func (s *python) next(c byte) verdict {
	switch s.peek() {
	case c:
		s.at++
		return matched
	case 0:
		if s.at == len(s.text) {
			return undecided
		}
	}
	return refused
}

// maxNesting bounds the nesting of Python literals.
const maxNesting = 64

// literal takes a literal and returns it as JSON.
func (s *python) literal(depth int) (string, verdict) {
	if depth > maxNesting {
		return "", refused
	}
	switch c := s.peek(); c {
	case '\'', '"':
		return s.str(c)
	case '[':
		return s.items(']', depth, false)
	case '(':
		return s.items(')', depth, false)
	case '{':
		return s.items('}', depth, true)
	}
	from := s.at
	for s.at < len(s.text) && strings.IndexByte(literals, s.text[s.at]) >= 0 {
		s.at++
	}
	if s.at == len(s.text) {
		return "", undecided
	}
	switch word := s.text[from:s.at]; word {
	case "":
		return "", refused
	case "True", "False":
		return strings.ToLower(word), matched
	case "None":
		return "null", matched
	default:
		if json.Valid([]byte(word)) {
			return word, matched
		}
		return quote(word), matched
	}
}

// items takes a list, a tuple or a dictionary.
func (s *python) items(closing byte, depth int, pairs bool) (string, verdict) {
	open, end := "[", "]"
	if pairs {
		open, end = "{", "}"
	}
	s.at++
	var all []string
	for {
		if s.peek() == closing {
			s.at++
			return open + strings.Join(all, ", ") + end, matched
		}
		if len(all) > 0 {
			if v := s.next(','); v != matched {
				return "", v
			}
			if s.peek() == closing {
				continue
			}
		}
		item, v := s.literal(depth + 1)
		if v != matched {
			return "", v
		}
		if pairs {
			if v := s.next(':'); v != matched {
				return "", v
			}
			value, v := s.literal(depth + 1)
			if v != matched {
				return "", v
			}
			if item[0] != '"' {
				item = quote(item)
			}
			item += ": " + value
		}
		all = append(all, item)
	}
}

// str takes a string literal.
func (s *python) str(mark byte) (string, verdict) {
	var b strings.Builder
	for i := s.at + 1; i < len(s.text); i++ {
		switch c := s.text[i]; c {
		case mark:
			s.at = i + 1
			return quote(b.String()), matched
		case '\\':
			if i+1 == len(s.text) {
				return "", undecided
			}
			r, _, rest, err := strconv.UnquoteChar(s.text[i:], mark)
			if err != nil {
				b.WriteByte(c)
				continue
			}
			b.WriteRune(r)
			i = len(s.text) - len(rest) - 1
		default:
			b.WriteByte(c)
		}
	}
	return "", undecided
}
