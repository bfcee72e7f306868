package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gin-gonic/gin"

	"aim/internal/account"
	"aim/internal/limit"
)

// Keys knows API keys.
type Keys interface {
	// Find returns the active key with a secret. It fails with [account.ErrNoKey] or [account.ErrUnavailable].
	Find(ctx context.Context, secret string) (account.Key, error)
	// HasKeys says whether there is any key. Where there is none, requests need none.
	HasKeys(ctx context.Context) (bool, error)
}

// Ledger records what requests took.
type Ledger interface {
	// Record returns when the record will survive whatever ends the server. A request is recorded before its answer's end is sent.
	Record(ctx context.Context, u account.Usage) error
	// Healthy is nil while what is recorded can be kept.
	Healthy() error
}

// peerAddr is the address of the other end of a connection, the zero Addr where it is none.
func peerAddr(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap()
}

// secretOf is the API key that a request brings, as OpenAI's clients send it or as Anthropic's do; "" without one.
func secretOf(r *http.Request) string {
	if scheme, secret, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(secret)
	}
	return r.Header.Get("X-Api-Key")
}

// authenticate finds out who asks. Where there are no keys, it is the owner.
func (s *Server) authenticate(c *gin.Context) {
	r := recordOf(c)
	if err := s.identify(c, r); err != nil {
		c.Abort()
		s.fail(c, err)
		return
	}
	r.billed = c.Request.Method == http.MethodPost
}

func (s *Server) identify(c *gin.Context, r *record) error {
	if s.keys == nil {
		return nil
	}
	some, err := s.keys.HasKeys(r.ctx)
	switch {
	case err != nil:
		return err
	case !some:
		return nil
	}
	r.grant = account.Grant{}
	key, err := s.keys.Find(r.ctx, secretOf(c.Request))
	if err != nil {
		return err
	}
	if from := s.clientOf(c.Request); !key.Grant.From(from) {
		return &apiError{
			status: http.StatusForbidden, kind: typePermission, code: "address_not_allowed",
			message: fmt.Sprintf("the API key may not be used from the address %v", from),
		}
	}
	r.key, r.grant = key.ID, key.Grant
	return nil
}

// forAdmins refuses those who may not administer the server.
func (s *Server) forAdmins(c *gin.Context) {
	if !recordOf(c).grant.Admin {
		c.Abort()
		s.fail(c, &apiError{
			status: http.StatusForbidden, kind: typePermission, code: "admin_required", message: "the API key may not administer the server",
		})
	}
	recordOf(c).billed = false
}

// accessError is the table's part for keys, their limits and models that are not there; nil for other errors.
func accessError(err error) *apiError {
	var refused *limit.Refused
	var loading *LoadError
	switch {
	case errors.As(err, &loading):
		return &apiError{
			status: http.StatusServiceUnavailable, kind: typeUnavailable, param: "model", code: "model_not_loaded", retryAfter: seconds(loading.RetryAfter),
			message: "the model cannot be loaded now; the server's log says why",
		}
	case errors.Is(err, account.ErrNoKey):
		return &apiError{
			status: http.StatusUnauthorized, kind: typeInvalid, code: "invalid_api_key",
			message: "the API key is missing, unknown, expired or revoked; send it as Authorization: Bearer KEY",
		}
	case errors.Is(err, account.ErrUnavailable):
		return &apiError{
			status: http.StatusServiceUnavailable, kind: typeUnavailable, code: "accounts_unavailable", retryAfter: 5,
			message: "API keys cannot be looked up, or usage cannot be recorded, now; try again soon",
		}
	case errors.As(err, &refused):
		return limitError(refused)
	}
	return nil
}

// limitError is the answer to a request beyond its key's limits. A budget that is spent is told by the code that clients know for it, with which
// they do not try again.
func limitError(r *limit.Refused) *apiError {
	e := &apiError{
		status: http.StatusTooManyRequests, kind: typeRateLimit, code: "rate_limit_exceeded", retryAfter: seconds(r.RetryAfter), message: r.Error(),
	}
	if r.What == limit.Day || r.What == limit.Month {
		e.kind, e.code, e.final = "insufficient_quota", "insufficient_quota", true
	}
	return e
}
