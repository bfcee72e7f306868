package toolcall

import "errors"

// Grammar is a placeholder.
func Grammar(Options, func([]byte) (string, error)) (string, error) {
	return "", errors.New("not yet")
}
