package chat

import (
	"fmt"
	"strings"
	"time"
)

// strftime formats t by the directives of Python's strftime that templates use, in the C locale. As in glibc a hyphen
// between the percent sign and the letter leaves out the padding, and an unknown directive stands for itself.
func strftime(t time.Time, format string) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		start, bare := i, format[i+1] == '-' && i+2 < len(format)
		i++
		if bare {
			i++
		}
		text, ok := directive(t, format[i])
		if !ok {
			text = format[start : i+1]
		} else if bare {
			text = unpad(text)
		}
		b.WriteString(text)
	}
	return b.String()
}

// layouts are the directives that time.Format knows.
var layouts = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'e': "_2", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'B': "January",
	'b': "Jan", 'h': "Jan", 'A': "Monday", 'a': "Mon", 'j': "002", 'z': "-0700", 'Z': "MST", 'F': "2006-01-02",
	'T': "15:04:05", 'R': "15:04", 'D': "01/02/06", 'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05",
}

func directive(t time.Time, letter byte) (string, bool) {
	if layout, ok := layouts[letter]; ok {
		return t.Format(layout), true
	}
	switch letter {
	case '%':
		return "%", true
	case 'n':
		return "\n", true
	case 't':
		return "\t", true
	case 's':
		return fmt.Sprint(t.Unix()), true
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000), true
	case 'w':
		return fmt.Sprint(int(t.Weekday())), true
	}
	return "", false
}

// unpad drops what pads a number to its width, but not its last digit.
func unpad(s string) string {
	for len(s) > 1 && (s[0] == '0' || s[0] == ' ') {
		s = s[1:]
	}
	return s
}
