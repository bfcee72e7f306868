package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, written with a unit: 64KiB, 4MiB, 8GiB, or a number alone.
type Size int64

var units = []struct {
	name string
	size int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}}

// String writes s with the largest unit that leaves a whole number.
func (s Size) String() string {
	for _, u := range units[:4] {
		if s != 0 && int64(s)%u.size == 0 {
			return fmt.Sprintf("%d%s", int64(s)/u.size, u.name)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// UnmarshalText reads what String writes, and fractions such as 1.5GiB.
func (s *Size) UnmarshalText(text []byte) error {
	number := strings.TrimSpace(string(text))
	scale := int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, scale = strings.TrimSpace(rest), u.size
			break
		}
	}
	x, err := strconv.ParseFloat(number, 64)
	if err != nil || !(x >= 0) || x*float64(scale) >= math.MaxInt64 {
		return fmt.Errorf("want a size such as 64KiB, 4MiB or 8GiB")
	}
	*s = Size(math.Round(x * float64(scale)))
	return nil
}

// AutoSize is a [Size], or -1 for auto.
type AutoSize int64

// String writes s.
func (s AutoSize) String() string {
	if s < 0 {
		return "auto"
	}
	return Size(s).String()
}

// UnmarshalText reads what String writes.
func (s *AutoSize) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*s = -1
		return nil
	}
	var size Size
	if err := size.UnmarshalText(text); err != nil {
		return fmt.Errorf("%w, or auto", err)
	}
	*s = AutoSize(size)
	return nil
}

// Layers is a number of layers, or one of the words auto and all.
type Layers int

// Values of Layers that are no numbers.
const (
	LayersAuto Layers = -2
	LayersAll  Layers = -1
)

// String writes l.
func (l Layers) String() string {
	switch l {
	case LayersAuto:
		return "auto"
	case LayersAll:
		return "all"
	}
	return strconv.Itoa(int(l))
}

// UnmarshalText reads what String writes.
func (l *Layers) UnmarshalText(text []byte) error {
	switch string(text) {
	case "auto":
		*l = LayersAuto
		return nil
	case "all", "-1": // -1 is what all was called before
		*l = LayersAll
		return nil
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 0 || n > math.MaxInt16 {
		return fmt.Errorf("want auto, all, or a whole number from 0 to %d", math.MaxInt16)
	}
	*l = Layers(n)
	return nil
}

// Toggle is true, false, or auto, its zero value, which leaves the choice to what the setting says.
type Toggle int

// The values of a Toggle.
const (
	Auto Toggle = iota
	On
	Off
)

// Or is the choice made, or auto where it was left.
func (t Toggle) Or(auto bool) bool {
	if t == Auto {
		return auto
	}
	return t == On
}

// String writes t.
func (t Toggle) String() string { return [...]string{"auto", "true", "false"}[t] }

// UnmarshalText reads what String writes, and on and off.
func (t *Toggle) UnmarshalText(text []byte) error {
	switch string(text) {
	case "auto":
		*t = Auto
	case "true", "on":
		*t = On
	case "false", "off":
		*t = Off
	default:
		return fmt.Errorf("want true, false or auto")
	}
	return nil
}

// Value is the value of a sampling parameter: nil, a bool, int64, float64, string, []any or map[string]any of those, as JSON has them.
type Value struct{ Any any }
