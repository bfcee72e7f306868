package jinja

import (
	"errors"
	"fmt"
)

// ErrorKind is the class of an error, as Python and jinja2 name them.
type ErrorKind string

// The classes that templates meet.
const (
	SyntaxError    ErrorKind = "TemplateSyntaxError"
	Raised         ErrorKind = "TemplateError"
	RuntimeError   ErrorKind = "TemplateRuntimeError"
	UndefinedError ErrorKind = "UndefinedError"
	SecurityError  ErrorKind = "SecurityError"
	FilterError    ErrorKind = "FilterArgumentError"
	TypeError      ErrorKind = "TypeError"
	ValueError     ErrorKind = "ValueError"
	LookupError    ErrorKind = "LookupError"
	AttributeError ErrorKind = "AttributeError"
	OverflowError  ErrorKind = "OverflowError"
	ZeroDivision   ErrorKind = "ZeroDivisionError"
	RecursionError ErrorKind = "RecursionError"
	// LimitError says that a template exceeded one of [Limits].
	LimitError ErrorKind = "LimitError"
)

// Error says that a template does not compile, or why its rendering ended.
type Error struct {
	Kind    ErrorKind
	Message string
	// Line is that of the template's text, from 1, or 0 where it is not known.
	Line int
}

func (e *Error) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("line %d: %s: %s", e.Line, e.Kind, e.Message)
	}
	return fmt.Sprintf("%s: %s", e.Kind, e.Message)
}

// fail ends the rendering; Render and Compile recover it.
func fail(kind ErrorKind, format string, args ...any) {
	panic(&Error{Kind: kind, Message: fmt.Sprintf(format, args...)})
}

func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: RuntimeError, Message: err.Error()}
}

// recoverError turns what fail threw into err. Any other panic is a defect of this package, which ends the template and not
// the process.
func recoverError(err *error) {
	switch p := recover().(type) {
	case nil:
	case *Error:
		*err = p
	default:
		*err = &Error{Kind: RuntimeError, Message: fmt.Sprint(p)}
	}
}

// attempt runs f and returns the error it failed with.
func attempt(f func()) (err *Error) {
	defer func() {
		if p := recover(); p != nil {
			e, ok := p.(*Error)
			if !ok {
				panic(p)
			}
			err = e
		}
	}()
	f()
	return nil
}
