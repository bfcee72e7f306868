package ledger

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"aim/internal/account"
)

// remembered bounds the cache. Only keys that were found enter it, so strangers cannot fill it.
const remembered = 10_000

// Find returns the active key that has a secret. It asks the database each time, so that keys revoked or changed anywhere are so at once. While
// the database cannot be asked, keys found within [Options.Remember] are answered from memory. Errors are [account.ErrNoKey] for a secret that
// is unknown, expired or revoked, and [account.ErrUnavailable] for one that nobody can tell about.
func (l *Ledger) Find(ctx context.Context, secret string) (account.Key, error) {
	if !isSecret(secret) {
		return account.Key{}, account.ErrNoKey
	}
	hash := hashOf(secret)
	if err := l.resting(); err != nil {
		return l.recall(hash, err)
	}
	generation := l.cache.generation()
	asking, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	key, stored, err := scanKey(l.db.QueryRowContext(asking, `SELECT `+keyColumns+` FROM aim_keys WHERE hash = $1`, hash).Scan)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		l.cache.forget(hash)
		return account.Key{}, account.ErrNoKey
	case errors.Is(err, errGrant): // the database works
		l.cache.forget(hash)
		return account.Key{}, fmt.Errorf("%w: %w", account.ErrUnavailable, err)
	case err != nil && ctx.Err() != nil:
		return account.Key{}, ctx.Err()
	case err != nil:
		l.rest(err)
		return l.recall(hash, err)
	}
	// The index found equal hashes already. Whatever it compares, or a collation makes equal, this alone decides, in constant time.
	if subtle.ConstantTimeCompare([]byte(stored), []byte(hash)) != 1 || !key.Active(l.options.Now()) {
		l.cache.forget(hash)
		return account.Key{}, account.ErrNoKey
	}
	l.anyKey.Store(true)
	l.cache.put(hash, key, generation)
	return key, nil
}

// rest spares lookups the wait for a database that has just failed one.
func (l *Ledger) rest(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.restsTil, l.restsFor = time.Now().Add(l.options.Retry), err
}

// resting returns the error that keeps lookups from the database, nil for none.
func (l *Ledger) resting() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.restsTil) {
		return l.restsFor
	}
	return nil
}

// recall answers from memory.
func (l *Ledger) recall(hash string, cause error) (account.Key, error) {
	key, ok := l.cache.get(hash, l.options.Remember)
	if !ok {
		return account.Key{}, fmt.Errorf("%w: %w", account.ErrUnavailable, cause)
	}
	if !key.Active(l.options.Now()) {
		return account.Key{}, account.ErrNoKey
	}
	return key, nil
}

// cache remembers keys by the hash of their secret. The zero value is empty.
type cache struct {
	mu   sync.Mutex
	keys map[string]cached
	// revocations counts those of this process. What was looked up before one may have been revoked by it, and does not enter.
	revocations int
}

type cached struct {
	key   account.Key
	found time.Time
}

func (c *cache) get(hash string, within time.Duration) (account.Key, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.keys[hash]
	return k.key, ok && time.Since(k.found) <= within
}

func (c *cache) generation() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revocations
}

func (c *cache) put(hash string, key account.Key, generation int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation != c.revocations {
		return
	}
	if c.keys == nil {
		c.keys = map[string]cached{}
	}
	if _, known := c.keys[hash]; !known && len(c.keys) >= remembered {
		for other := range c.keys { // any one
			delete(c.keys, other)
			break
		}
	}
	c.keys[hash] = cached{key, time.Now()}
}

func (c *cache) forget(hash string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.keys, hash)
}

// forgetID forgets a key that was revoked here.
func (c *cache) forgetID(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revocations++
	for hash, k := range c.keys {
		if k.key.ID == id {
			delete(c.keys, hash)
		}
	}
}
