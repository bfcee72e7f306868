package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"aim/sampler"
)

// intValue is a flag whose value is a whole number between bounds, which its errors name.
type intValue struct {
	p        *int
	min, max int
}

// intVar defines a flag for a whole number from lo to hi.
func intVar(f *pflag.FlagSet, p *int, name string, value, lo, hi int, usage string) {
	*p = value
	f.Var(&intValue{p, lo, hi}, name, usage)
}

func (v *intValue) String() string { return strconv.Itoa(*v.p) }
func (v *intValue) Type() string   { return "int" }

// Set parses a value from the command line.
func (v *intValue) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < v.min || n > v.max {
		return fmt.Errorf("want a whole number from %d to %d", v.min, v.max)
	}
	*v.p = n
	return nil
}

// floatValue is a flag whose value is a parameter of the sampler, which knows its domain.
type floatValue struct {
	p      *float64
	params func(float64) sampler.Params
}

// floatVar defines a flag for a number that params makes a parameter of the sampler.
func floatVar(f *pflag.FlagSet, p *float64, name string, value float64, usage string, params func(float64) sampler.Params) {
	*p = value
	f.Var(&floatValue{p, params}, name, usage)
}

func (v *floatValue) String() string { return strconv.FormatFloat(*v.p, 'g', -1, 64) }
func (v *floatValue) Type() string   { return "float" }

// Set parses a value from the command line.
func (v *floatValue) Set(text string) error {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return errors.New("want a number")
	}
	var domain *sampler.DomainError
	if err := v.params(x).Validate(1); errors.As(err, &domain) {
		return fmt.Errorf("want a number %s", domain.Want)
	}
	*v.p = x
	return nil
}

// levelVar defines a flag for a level of utility; 0 is none.
func levelVar(f *pflag.FlagSet, p *float64, usage string) { f.Var(&levelValue{p}, "level", usage) }

// levelValue is a flag whose value is a level of utility.
type levelValue struct{ p *float64 }

func (v *levelValue) String() string {
	if *v.p == 0 {
		return ""
	}
	return strconv.FormatFloat(*v.p, 'g', -1, 64)
}
func (v *levelValue) Type() string { return "float" }

// Set parses a value from the command line.
func (v *levelValue) Set(text string) error {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || !(x > 0 && x <= 1) {
		return errors.New("want a number above 0 and up to 1")
	}
	*v.p = x
	return nil
}

// oneUtility refuses a level beside a σ.
func oneUtility(f *pflag.FlagSet) error {
	if f.Changed("level") && f.Changed("sigma") {
		return usageError{errors.New("--level and --sigma set the same: give one of them")}
	}
	return nil
}

// choiceValue is a flag whose value is one of several words.
type choiceValue struct {
	p       *string
	choices []string
}

// choiceVar defines a flag for one of the choices, of which the first is the default.
func choiceVar(f *pflag.FlagSet, p *string, name, usage string, choices ...string) {
	*p = choices[0]
	f.Var(&choiceValue{p, choices}, name, usage+": "+strings.Join(choices, ", "))
}

func (v *choiceValue) String() string { return *v.p }
func (v *choiceValue) Type() string   { return "word" }

// Set parses a value from the command line.
func (v *choiceValue) Set(text string) error {
	for _, c := range v.choices {
		if text == c {
			*v.p = text
			return nil
		}
	}
	return fmt.Errorf("want one of %s", strings.Join(v.choices, ", "))
}

func sigmaParams(v float64) sampler.Params       { return sampler.Params{Utility: sampler.Utility{Sigma: v}} }
func temperatureParams(v float64) sampler.Params { return sampler.Params{Temperature: v} }
func topPParams(v float64) sampler.Params        { return sampler.Params{TopP: v} }

// endNoises are the words for a sampler.EndNoise, the default first.
func endNoises() (words []string) {
	for e := sampler.EndModulated; e <= sampler.EndKept; e++ {
		words = append(words, e.String())
	}
	return words
}

func endNoise(word string) sampler.EndNoise { return sampler.EndNoise(slices.Index(endNoises(), word)) }
