package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"aim/internal/chat"
	"aim/internal/grammar"
	"aim/internal/limit"
	"aim/llama"
	"aim/sampler"
)

// apiError is a failure as clients see it: OpenAI's four fields, with the status and the headers that go with them. SDKs
// repeat a request that failed with 408, 409, 429 or 5xx, so whatever would fail again the same way is another 4xx.
type apiError struct {
	status  int
	message string
	// kind is the field type.
	kind string
	// param and code are null where empty.
	param, code string
	// retryAfter is in seconds; 0 leaves the header out.
	retryAfter int
	// final tells clients not to try again, although they would for such a status.
	final bool
}

func (e *apiError) Error() string { return e.message }

// errorFields are those of an error as clients see it.
type errorFields struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

func (e *apiError) fields() errorFields {
	return errorFields{e.message, e.kind, orNull(e.param), orNull(e.code)}
}

// orNull is null in JSON where s is empty.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// MarshalJSON writes the body of an error answer and of an error event.
func (e *apiError) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Error errorFields `json:"error"`
	}{e.fields()})
}

// Values of the field type.
const (
	typeInvalid     = "invalid_request_error"
	typePermission  = "permission_error"
	typeRateLimit   = "rate_limit_error"
	typeServer      = "server_error"
	typeUnavailable = "service_unavailable_error"
)

// Values of the field code for errors found while parsing, as OpenAI uses them.
const (
	codeType        = "invalid_type"
	codeValue       = "invalid_value"
	codeMissing     = "missing_required_parameter"
	codeUnknown     = "unknown_parameter"
	codeUnsupported = "unsupported_parameter"
	codeContent     = "unsupported_content"
)

// statusGone is nginx's status for a client that left before its answer; it appears in the log only.
const statusGone = 499

// invalid is the error of a request that can never succeed, naming the parameter at fault.
func invalid(param, code, format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, message: fmt.Sprintf(format, args...), kind: typeInvalid, param: param, code: code}
}

func notFound(param, code, format string, args ...any) *apiError {
	e := invalid(param, code, format, args...)
	e.status = http.StatusNotFound
	return e
}

// asAPIError is the table from the errors of all packages to statuses, types and codes.
func asAPIError(err error) *apiError {
	var (
		api      *apiError
		domain   *sampler.DomainError
		tooLong  *llama.TooLongError
		template *chat.TemplateError
		tooLarge *http.MaxBytesError
		decode   *llama.DecodeError
	)
	if e := accessError(err); e != nil {
		return e
	}
	switch {
	case errors.As(err, &api):
		return api
	case errors.As(err, &domain):
		param := wireParam(domain.Param)
		return invalid(param, codeValue, "%s is %v, must be %s", param, domain.Value, domain.Want)
	case errors.As(err, &tooLong):
		return invalid("", "context_length_exceeded", "%v", tooLong)
	case errors.As(err, &template):
		return invalid("messages", "invalid_messages", "%v", template)
	case errors.As(err, &tooLarge):
		e := invalid("", "request_too_large", "the body is larger than %d bytes", tooLarge.Limit)
		e.status = http.StatusRequestEntityTooLarge
		return e
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &apiError{status: http.StatusRequestTimeout, message: "the body did not arrive in time", kind: typeInvalid, code: "request_timeout"}
	case errors.Is(err, llama.ErrQueued):
		return &apiError{
			status: http.StatusServiceUnavailable, message: "no slot became free in time, try again later",
			kind: typeUnavailable, code: "queue_timeout", retryAfter: 1,
		}
	case errors.Is(err, llama.ErrDeadline), errors.Is(err, context.DeadlineExceeded):
		return &apiError{
			status: http.StatusGatewayTimeout, message: "the answer was not complete in the time that the server allows for one",
			kind: typeServer, code: "deadline_exceeded", final: true,
		}
	case errors.Is(err, llama.ErrBusy):
		return &apiError{
			status: http.StatusTooManyRequests, message: "the queue is full, try again later",
			kind: typeRateLimit, code: "rate_limit_exceeded", retryAfter: 1,
		}
	case errors.Is(err, llama.ErrClosed):
		return &apiError{
			status: http.StatusServiceUnavailable, message: "the server is shutting down",
			kind: typeUnavailable, code: "shutting_down", retryAfter: 5,
		}
	case errors.Is(err, ErrCalibrating):
		return &apiError{
			status: http.StatusServiceUnavailable, message: "the model is being calibrated, which a level needs; try again soon",
			kind: typeUnavailable, code: "calibrating", retryAfter: 5,
		}
	case errors.Is(err, context.Canceled):
		return &apiError{status: statusGone, message: "the client left", kind: typeInvalid, code: "client_gone"}
	case errors.As(err, &decode):
		return serverError("decode_failed", "the model failed on this request")
	case errors.Is(err, sampler.ErrNoCandidate):
		return invalid("", "no_token_allowed", "every token is forbidden at a step of the answer, by logit_bias or the grammar together with others")
	case errors.Is(err, grammar.ErrBudget):
		return invalid("", "grammar_too_costly", "the grammar of the answer is so ambiguous, or its text so deep, that a token would cost more than is allowed")
	case errors.Is(err, grammar.ErrStuck):
		return invalid("", "grammar_stuck", "no token of the model continues the text that the grammar of the answer demands")
	case errors.Is(err, sampler.ErrNotFinite), errors.Is(err, sampler.ErrRowLength):
		return serverError("sampling_failed", "no token could be chosen from the model's output")
	}
	return serverError("internal_error", "internal error")
}

func serverError(code, message string) *apiError {
	return &apiError{status: http.StatusInternalServerError, message: message, kind: typeServer, code: code}
}

// wireParam is the name in a request of a parameter of the sampler: modulation is told by the extension.
func wireParam(param string) string {
	if strings.HasPrefix(param, "utility") || strings.HasPrefix(param, "focus") {
		return "aim." + param
	}
	return param
}

// fail answers with an error. Nothing may have been sent before.
func (s *Server) fail(c *gin.Context, err error) {
	e := asAPIError(err)
	s.report(c, e, err)
	s.settle(c)
	if e.status == statusGone {
		return
	}
	if e.retryAfter > 0 {
		c.Header("Retry-After", strconv.Itoa(e.retryAfter))
	}
	if e.final {
		c.Header("X-Should-Retry", "false") // which OpenAI's and Anthropic's clients heed
	}
	if e.status == http.StatusUnauthorized {
		c.Header("WWW-Authenticate", "Bearer")
	}
	if ofMessages(c.Request.URL.Path) {
		status, failure := e.asMessages(recordOf(c).id)
		writeJSON(c, status, failure)
		return
	}
	writeJSON(c, e.status, e)
}

// report notes an error for the request log. The cause of what is no client's fault is kept, since its answer hides it.
func (s *Server) report(c *gin.Context, e *apiError, err error) {
	r := recordOf(c)
	r.status, r.code, r.took.Refused = e.status, e.code, refusedBy(err)
	if e.status >= http.StatusInternalServerError {
		r.cause = err
	}
}

// refusedBy is the limit that refused a request, "" for none.
func refusedBy(err error) string {
	if r := new(limit.Refused); errors.As(err, &r) {
		return r.What
	}
	if errors.Is(err, llama.ErrBusy) {
		return "queue"
	}
	return ""
}

// writeJSON answers with v. What is encoded here consists of the package's own types, which always can be.
func writeJSON(c *gin.Context, status int, v any) {
	c.Data(status, "application/json", encode(v))
}

// encode is v as one line of JSON, without the escapes meant for HTML.
func encode(v any) []byte {
	var b bytes.Buffer
	mustEncode(newEncoder(&b), v)
	return bytes.TrimRight(b.Bytes(), "\n")
}

func newEncoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}

func mustEncode(enc *json.Encoder, v any) {
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("server: %T cannot be encoded: %v", v, err))
	}
}
