// Package limit bounds what each key takes: requests and tokens per minute, requests at once, and budgets of tokens per day and month.
//
// A rate is a bucket that holds a minute's worth and empties evenly, so that in any time t a key takes at most its limit · (1 + t/min).
// What a request takes beyond what it was admitted with is a debt: the key waits until the bucket has room again. Budgets are those of the
// calendar in UTC; what was spent of them before is asked of the ledger. [Local] counts in the process, [Redis] for all replicas.
package limit

import (
	"context"
	"fmt"
	"math"
	"time"

	"aim/internal/account"
)

// Limiter admits requests. Its methods are safe for concurrent use, and an admission that fails takes nothing.
type Limiter interface {
	// Take admits a request of a key under its grant, or fails with [*Refused]. tokens ≥ 0 is what the request takes at least, which is charged
	// at once; what it takes beyond is charged when the hold is settled, so that a key may overdraw by the requests that run. The state
	// is what remains, also where the request is refused. A request of more tokens than a minute's worth is admitted where the bucket is
	// empty. Take waits for the ledger at most, and fails with the error of ctx where that ends first.
	Take(ctx context.Context, key string, g *account.Grant, tokens int) (Hold, State, error)
}

// Hold is an admitted request. Settle must be called when it is over, with the tokens that it took in all; calls after the first do
// nothing. It does not end with ctx, so that who has left pays, too. Whoever keeps the ledger should be told of the request first.
type Hold interface {
	Settle(ctx context.Context, tokens int)
}

// What a request was refused for.
const (
	Requests    = "requests_per_minute"
	Tokens      = "tokens_per_minute"
	Concurrency = "concurrency"
	Day         = "tokens_per_day"
	Month       = "tokens_per_month"
)

// Refused says which limit of its key a request met.
type Refused struct {
	// What is one of the constants, and Limit its value.
	What  string
	Limit int64
	// RetryAfter is when a request may succeed again, where no other comes.
	RetryAfter time.Duration
}

func (e *Refused) Error() string {
	return fmt.Sprintf("the key's limit of %s is %d; try again in %v s", e.What, e.Limit, math.Ceil(e.RetryAfter.Seconds()))
}

// State is what remains of the rates, for the headers of an answer.
type State struct {
	Requests, Tokens Rate
}

// Rate is what remains of a rate per minute. A Limit of 0 is none.
type Rate struct {
	Limit, Remaining int
	// Reset is when Remaining will be Limit again, where no request comes.
	Reset time.Duration
}
