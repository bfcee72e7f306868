package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrInterrupted is what a Reader returns when the user gives up a line with Ctrl-C.
var ErrInterrupted = errors.New("interrupted")

// Reader is where the user types.
type Reader interface {
	// Prompt shows a prompt and returns a line without its end. The error is io.EOF where the user wants to leave.
	Prompt(prompt string) (string, error)
	// AppendHistory remembers a line for editing.
	AppendHistory(line string)
}

// Loop reads turns and commands and answers them on w until the user leaves. answering returns the context of one answer
// and is told when that is over; cancelling it stops the answer, not the Loop.
func (s *Session) Loop(r Reader, w io.Writer, answering func() (context.Context, context.CancelFunc)) error {
	for {
		line, err := r.Prompt(">>> ")
		switch {
		case errors.Is(err, ErrInterrupted):
			fmt.Fprintln(w, "/bye or Ctrl-D leaves")
			continue
		case errors.Is(err, io.EOF):
			fmt.Fprintln(w)
			return nil
		case err != nil:
			return err
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		r.AppendHistory(line)
		if err := s.line(line, w, answering); err != nil {
			if errors.Is(err, errLeave) {
				return nil
			}
			return err
		}
	}
}

// line handles one line. Its error ends the Loop.
func (s *Session) line(line string, w io.Writer, answering func() (context.Context, context.CancelFunc)) error {
	if strings.HasPrefix(line, "/") {
		shown, err := s.command(line)
		if err != nil && !errors.Is(err, errLeave) {
			shown, err = err.Error()+"\n", nil
		}
		fmt.Fprint(w, shown)
		return err
	}
	ctx, over := answering()
	defer over()
	err := s.Answer(ctx, line, w)
	fmt.Fprint(w, "\n\n")
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(w, explain(err))
	}
	return nil
}
