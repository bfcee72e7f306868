// Package account says who may use a server for what, and what they used: API keys with their grants, and records of usage. It holds the
// types; internal/ledger keeps them in a database.
package account

import (
	"errors"
	"net/netip"
	"path"
	"time"
)

// Key is an API key as it is kept: its secret is shown once, when it is made, and only a hash of it is stored.
type Key struct {
	// ID names the key in usage, logs and metrics. It is no secret.
	ID string `json:"id"`
	// Prefix is how the key's secret begins, for its owner to recognize it.
	Prefix string `json:"prefix"`
	// Name is the owner's word for who has it.
	Name string `json:"name"`
	// Created, Expires and Revoked are UTC; the last two are zero for never.
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Revoked time.Time `json:"revoked,omitzero"`
	Grant   Grant     `json:"grant"`
}

// Active says that the key is neither revoked nor expired. What was revoked stays so whatever the clock says: it may have been set back, or be
// behind that of the machine where the key was revoked.
func (k *Key) Active(now time.Time) bool {
	return k.Revoked.IsZero() && (k.Expires.IsZero() || now.Before(k.Expires))
}

// Grant is what a key may do. The zero value may use all models, without limits, but neither ask for a utility of its own nor administer.
type Grant struct {
	// Admin opens the endpoints under /admin.
	Admin bool `json:"admin,omitempty"`
	// Models are names of served models, or patterns as [path.Match] takes them; none stands for all.
	Models []string `json:"models,omitempty"`
	// RequestsPerMinute and TokensPerMinute are rates, Concurrency the requests at once; 0 is no limit. Tokens are those of
	// prompts and answers.
	RequestsPerMinute int `json:"requests_per_minute,omitempty"`
	TokensPerMinute   int `json:"tokens_per_minute,omitempty"`
	Concurrency       int `json:"concurrency,omitempty"`
	// TokensPerDay and TokensPerMonth are budgets for a day and a month of the calendar in UTC; 0 is no limit.
	TokensPerDay   int64 `json:"tokens_per_day,omitempty"`
	TokensPerMonth int64 `json:"tokens_per_month,omitempty"`
	// Networks are those the key may be used from; none stands for all.
	Networks []netip.Prefix `json:"networks,omitempty"`
	// Priority in [1, 100] is the key's share where several keys wait: one of priority 4 is served four times the tokens of one of 1. 0 is 1.
	Priority int `json:"priority,omitempty"`
	// LowerUtility allows requests to ask for utility of their own, which can only lower what their model imposes.
	LowerUtility bool `json:"lower_utility,omitempty"`
	// MaxFocus in [0, 1] bounds the strength of focus, 0 for none at all; nil leaves it to the model.
	MaxFocus *float64 `json:"max_focus,omitempty"`
}

// Allows says whether the grant covers a model.
func (g *Grant) Allows(model string) bool {
	for _, pattern := range g.Models {
		if ok, _ := path.Match(pattern, model); ok || pattern == model { // a malformed pattern matches nothing but itself
			return true
		}
	}
	return len(g.Models) == 0
}

// From says whether the grant covers an address. An address that is not known is covered only by a grant for all.
func (g *Grant) From(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("") // a prefix has no zone, and contains no address with one
	for _, n := range g.Networks {
		if n.Contains(addr) {
			return true
		}
	}
	return len(g.Networks) == 0
}

// Errors of whoever keeps accounts.
var (
	// ErrNoKey says that no active key has the secret given.
	ErrNoKey = errors.New("no such API key")
	// ErrAmbiguous says that what was given could be meant for several keys.
	ErrAmbiguous = errors.New("more than one API key is meant")
	// ErrUnavailable says that the database cannot be asked. What could be answered from memory was.
	ErrUnavailable = errors.New("the accounts cannot be reached")
)

// Usage is what one request took, whether it succeeded or not.
type Usage struct {
	// Request is unique; the server makes it, so that no client can choose one twice.
	Request string `json:"request"`
	// Key is the ID of its key, "" for a request without one.
	Key string `json:"key,omitempty"`
	// Model is the name that was asked for, as far as there is such a model, and Endpoint the path of the request.
	Model    string `json:"model,omitempty"`
	Endpoint string `json:"endpoint"`
	// Began is when the request arrived, in UTC, and Duration how long it took.
	Began    time.Time     `json:"began"`
	Duration time.Duration `json:"duration"`
	// Status is that of HTTP, 499 for a client that left, and Code says what failed, "" for nothing.
	Status int    `json:"status"`
	Code   string `json:"code,omitempty"`
	// PromptTokens are those of its prompts, CachedTokens those of them that needed no computing, and CompletionTokens those of its answers,
	// also where the client left before the end.
	PromptTokens     int `json:"prompt_tokens"`
	CachedTokens     int `json:"cached_tokens"`
	CompletionTokens int `json:"completion_tokens"`
}

// Tokens is what counts against rates and budgets.
func (u *Usage) Tokens() int { return u.PromptTokens + u.CompletionTokens }

// Query selects records of usage. Zero fields select all.
type Query struct {
	// Key is an ID, Model a name. From is included and To is not; both are UTC.
	Key, Model string
	From, To   time.Time
	// By lists what is told apart, of "key", "model", "day" and "month"; none gives one total.
	By []string
}

// Total sums up records of usage.
type Total struct {
	// Key, Model and Period ("2026-11-27" or "2026-11") are set where they are told apart.
	Key    string `json:"key,omitempty"`
	Model  string `json:"model,omitempty"`
	Period string `json:"period,omitempty"`

	Requests         int64 `json:"requests"`
	Failed           int64 `json:"failed"`
	PromptTokens     int64 `json:"prompt_tokens"`
	CachedTokens     int64 `json:"cached_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
}

// Groupings are what Query.By may have.
var Groupings = []string{"key", "model", "day", "month"}

// ParseTime reads a time as RFC 3339 has it, or a date, which begins at midnight in UTC. "" is the zero time.
func ParseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	return t.UTC(), err
}
