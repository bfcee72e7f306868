package pull

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// fatalError is one that trying again does not mend.
type fatalError struct{ error }

func (e *fatalError) Unwrap() error { return e.error }

// StatusError is an answer of a server that is no file.
type StatusError struct {
	// Status is HTTP's, Text what it means for the source and what to do.
	Status int
	Text   string
	// after is how long the server wants to be left alone.
	after time.Duration
}

func (e *StatusError) Error() string { return e.Text }

// ErrStalled says that a server sent nothing for too long.
var ErrStalled = errors.New("the server sends nothing any more")

const maxRedirects = 10

// linked is what the hub says of a file before it sends its caller elsewhere.
type linked struct {
	size           int64
	sha256, commit string
}

// get asks for a file, following redirects. The token goes to the hub and nowhere else.
func (o *Options) get(ctx context.Context, at string, header http.Header) (*http.Response, *linked, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, nil, &fatalError{errors.New("not a URL that can be asked")}
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", "aim")
	req.Header.Set("Accept-Encoding", "identity") // ranges and sizes are of the file, not of what a server packs
	if o.Token != "" && strings.HasPrefix(at, o.Endpoint+"/") {
		req.Header.Set("Authorization", "Bearer "+o.Token)
	}
	said := &linked{}
	client := *o.Client
	client.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		first := via[0].URL
		if next.Response.Request.URL.Host == first.Host {
			said.read(next.Response.Header)
		}
		switch {
		case len(via) >= maxRedirects:
			return &fatalError{fmt.Errorf("more than %d redirects", maxRedirects)}
		case next.URL.Scheme != "https" && first.Scheme == "https":
			return &fatalError{errors.New("the server redirects from https to an address that is not safe")}
		case next.URL.Host != first.Host || next.URL.Scheme != first.Scheme:
			next.Header.Del("Authorization")
			next.Header.Del("Cookie")
			next.Header.Del("Referer")
		}
		return nil
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, cause(ctx, err)
	}
	if resp.Request.URL.Host == req.URL.Host {
		said.read(resp.Header)
	}
	return resp, said, nil
}

// read takes what the hub says of a file in LFS.
func (l *linked) read(h http.Header) {
	if n, err := strconv.ParseInt(h.Get("X-Linked-Size"), 10, 64); err == nil && n > 0 {
		l.size = n
	}
	if sum := strings.Trim(h.Get("X-Linked-Etag"), `"`); hex64.MatchString(sum) {
		l.sha256 = sum
	}
	if commit := h.Get("X-Repo-Commit"); hex40.MatchString(commit) {
		l.commit = commit
	}
}

// cause is the error of a request without its address, which may carry what is secret, or why ctx ended.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	var fatal *fatalError
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	switch {
	case errors.As(err, &fatal):
	case errors.As(err, &certificate), errors.As(err, &dns) && dns.IsNotFound:
		return &fatalError{err}
	}
	return err
}

// watch returns a context that ends when alive was not called for too long.
func (o *Options) watch(ctx context.Context) (_ context.Context, alive, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(o.Stall, func() { cancel(fmt.Errorf("%w: nothing came for %v", ErrStalled, o.Stall)) })
	return ctx, func() { timer.Reset(o.Stall) }, func() { timer.Stop(); cancel(nil) }
}

// watched is a reader that tells when something came.
type watched struct {
	io.Reader
	alive func()
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Reader.Read(b)
	if n > 0 {
		w.alive()
	}
	return n, err
}

// persist calls try until it succeeds, fails in a way that stays, or failed Tries times in a row without getting further.
func (o *Options) persist(ctx context.Context, what string, try func() (further bool, err error)) error {
	failures := 0
	for {
		further, err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var fatal *fatalError
		var status *StatusError
		errors.As(err, &status)
		if errors.As(err, &fatal) || status != nil && !temporary(status.Status) {
			return err
		}
		if further {
			failures = 0
		}
		failures++
		if failures >= o.Tries {
			return fmt.Errorf("given up after %d tries: %w", failures, err)
		}
		pause := min(o.Pause<<min(failures-1, 10), maxPause)
		if status != nil && status.after > pause {
			pause = min(status.after, maxAfter)
		}
		o.Report(fmt.Sprintf("%s: %v; trying again in %v", what, err, pause))
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// The longest pauses before another try: by our own count, and where a server asks for it.
const (
	maxPause = 30 * time.Second
	maxAfter = 5 * time.Minute
)

func temporary(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == http.StatusTooManyRequests || status >= 500
}

// refusal makes an error of an answer that is no file, and says what to do.
func (o *Options) refusal(resp *http.Response, at string) error {
	e := &StatusError{Status: resp.StatusCode}
	hub := strings.HasPrefix(at, o.Endpoint+"/")
	code := resp.Header.Get("X-Error-Code")
	token := "set HF_TOKEN to a token that may read it"
	if o.Token != "" {
		token = "HF_TOKEN does not let you read it"
	}
	switch {
	case hub && code == "GatedRepo":
		e.Text = "the repository is gated: accept its terms on its page at " + o.Endpoint + "; " + token
	case hub && resp.StatusCode == http.StatusUnauthorized:
		e.Text = "there is no such repository, or it is private: " + token
	case hub && resp.StatusCode == http.StatusForbidden:
		e.Text = "access is refused: " + token
	case hub && code == "RevisionNotFound":
		e.Text = fmt.Sprintf("the repository has no revision %q", o.Revision)
	case hub && code == "EntryNotFound":
		e.Text = "the repository has no such file; aim pull hf:owner/repo lists those that it has"
	case resp.StatusCode == http.StatusNotFound:
		e.Text = "not found"
	case resp.StatusCode == http.StatusTooManyRequests:
		e.Text = "the server wants fewer requests"
	default:
		e.Text = "the server answers"
	}
	e.Text += fmt.Sprintf(" (status %d%s)", resp.StatusCode, said(resp.Header.Get("X-Error-Message")))
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
		e.after = time.Duration(min(n, int(maxAfter/time.Second))) * time.Second
	}
	return e
}

// said is a server's message, fit for a terminal.
func said(message string) string {
	message = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, message)
	if message == "" {
		return ""
	}
	return ": " + message[:min(len(message), 200)]
}
