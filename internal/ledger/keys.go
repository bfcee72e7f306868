package ledger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"aim/internal/account"
)

const (
	// SecretPrefix begins every secret, for people and scanners for leaked secrets to recognize it.
	SecretPrefix = "aim-"
	// secretLength counts the random letters and digits of a secret, each of log2(62) = 5.95 bits: 256 bits in all.
	secretLength = 43
	// shownLength is how much of a secret's beginning a key keeps. What is not shown still has 208 bits.
	shownLength = len(SecretPrefix) + 8
	// idLength counts the random letters and digits of an ID.
	idLength = 12
	// MaxName bounds the name of a key in bytes.
	MaxName = 100
)

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// random returns n random letters and digits, all of them equally likely.
func random(n int) string {
	text := make([]byte, 0, n)
	block := make([]byte, 2*n)
	for len(text) < n {
		_, _ = rand.Read(block) // never fails
		for _, b := range block {
			// 248 is the largest multiple of 62 in a byte. Larger values would make the first letters more likely.
			if b < 248 && len(text) < n {
				text = append(text, alphabet[b%62])
			}
		}
	}
	return string(text)
}

// isSecret says whether a text has the form of a secret, so that nothing else is looked for.
func isSecret(text string) bool {
	rest, ok := strings.CutPrefix(text, SecretPrefix)
	return ok && len(rest) == secretLength && strings.Trim(rest, alphabet) == ""
}

// hashOf is what is stored of a secret. One round of SHA-256 is enough: slow hashes protect passwords that can be guessed, and nobody guesses 256
// random bits.
func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// CreateKey makes a key and returns it with its secret, which is not stored and cannot be shown again. The name has 1 to [MaxName] bytes and
// no control characters; expires is in the future, or zero for never.
func (l *Ledger) CreateKey(ctx context.Context, name string, expires time.Time, grant account.Grant) (account.Key, string, error) {
	now := l.options.Now()
	if err := checkName(name); err != nil {
		return account.Key{}, "", err
	}
	if !expires.IsZero() && !expires.After(now) {
		return account.Key{}, "", fmt.Errorf("expires: %s: want a time in the future", expires.UTC().Format(time.RFC3339))
	}
	permits, err := encodeGrant(grant)
	if err != nil {
		return account.Key{}, "", err
	}
	secret := SecretPrefix + random(secretLength)
	key := account.Key{
		ID: "key_" + random(idLength), Prefix: secret[:shownLength], Name: name,
		Created: moment(micros(now)), Expires: moment(micros(expires)), Grant: grant,
	}
	_, err = l.db.ExecContext(ctx, `INSERT INTO aim_keys (id, prefix, hash, name, created, expires, revoked, permits)
		VALUES ($1, $2, $3, $4, $5, $6, 0, $7)`, key.ID, key.Prefix, hashOf(secret), name, micros(key.Created), micros(key.Expires), permits)
	if err != nil {
		return account.Key{}, "", unavailable(ctx, err)
	}
	l.anyKey.Store(true)
	return key, secret, nil
}

func checkName(name string) error {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("name: %q: want 1 to %d bytes of text without control characters", name, MaxName)
	}
	return nil
}

func encodeGrant(grant account.Grant) (string, error) {
	if err := grant.Check(); err != nil {
		return "", err
	}
	permits, err := json.Marshal(grant)
	return string(permits), err
}

// SetGrant changes what a key may do, at once and in all replicas. id is a key's ID; the error is [account.ErrNoKey] where there is none.
func (l *Ledger) SetGrant(ctx context.Context, id string, grant account.Grant) error {
	permits, err := encodeGrant(grant)
	if err != nil {
		return err
	}
	result, err := l.db.ExecContext(ctx, `UPDATE aim_keys SET permits = $1 WHERE id = $2`, permits, id)
	if err != nil {
		return unavailable(ctx, err)
	}
	if n, err := result.RowsAffected(); err == nil && n == 0 {
		return fmt.Errorf("%s: %w", id, account.ErrNoKey)
	}
	return nil
}

const keyColumns = `id, prefix, hash, name, created, expires, revoked, permits`

// errGrant says that a grant was made by a newer program, or is damaged.
var errGrant = errors.New("the grant cannot be read")

// scanKey reads keyColumns. With errGrant it returns the key without its grant.
func scanKey(scan func(...any) error) (key account.Key, hash string, err error) {
	var created, expires, revoked int64
	var permits string
	if err := scan(&key.ID, &key.Prefix, &hash, &key.Name, &created, &expires, &revoked, &permits); err != nil {
		return account.Key{}, "", err
	}
	key.Created, key.Expires, key.Revoked = moment(created), moment(expires), moment(revoked)
	// A field that this program does not know may be a limit. The key is refused rather than let it go beyond.
	d := json.NewDecoder(strings.NewReader(permits))
	d.DisallowUnknownFields()
	if err := d.Decode(&key.Grant); err != nil {
		key.Grant = account.Grant{}
		return key, hash, fmt.Errorf("key %s: %w: %w", key.ID, errGrant, err)
	}
	return key, hash, nil
}

// Keys returns all keys, the oldest first, with those that are expired or revoked. Where grants cannot be read, it returns their keys without
// them and an error.
func (l *Ledger) Keys(ctx context.Context) ([]account.Key, error) {
	rows, err := l.db.QueryContext(ctx, `SELECT `+keyColumns+` FROM aim_keys ORDER BY created, id`)
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err tells
	var keys []account.Key
	var damaged error
	for rows.Next() {
		key, _, err := scanKey(rows.Scan)
		if err != nil && !errors.Is(err, errGrant) {
			return nil, unavailable(ctx, err)
		}
		keys, damaged = append(keys, key), errors.Join(damaged, err)
	}
	return keys, errors.Join(damaged, unavailable(ctx, rows.Err()))
}

// HasKeys says whether there is any key, also one that is expired or revoked: a server whose last key was revoked must not become open to all.
func (l *Ledger) HasKeys(ctx context.Context) (bool, error) {
	if l.anyKey.Load() {
		return true, nil
	}
	var any bool
	if err := l.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM aim_keys)`).Scan(&any); err != nil {
		return false, unavailable(ctx, err)
	}
	if any {
		l.anyKey.Store(true)
	}
	return any, nil
}

// AmbiguousError says that several keys begin with what was given.
type AmbiguousError struct {
	Given string
	IDs   []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q is the beginning of %d keys: give more of one of %s", e.Given, len(e.IDs), strings.Join(e.IDs, ", "))
}

// Unwrap returns [account.ErrAmbiguous].
func (e *AmbiguousError) Unwrap() error { return account.ErrAmbiguous }

// Revoke ends a key for good and at once, in all replicas, and returns it. What is given is its ID, the beginning of its ID or of its secret, or
// the whole secret. Revoking twice keeps the first time. Errors are [account.ErrNoKey] and *[AmbiguousError].
func (l *Ledger) Revoke(ctx context.Context, given string) (account.Key, error) {
	id, err := l.Identify(ctx, given)
	if err != nil {
		return account.Key{}, err
	}
	// Where several revoke at once, the first wins.
	_, err = l.db.ExecContext(ctx, `UPDATE aim_keys SET revoked = $1 WHERE id = $2 AND revoked = 0`, max(micros(l.options.Now()), 1), id)
	if err != nil {
		return account.Key{}, unavailable(ctx, err)
	}
	l.cache.forgetID(id)
	key, _, err := scanKey(l.db.QueryRowContext(ctx, `SELECT `+keyColumns+` FROM aim_keys WHERE id = $1`, id).Scan)
	if errors.Is(err, errGrant) { // it is revoked all the same
		err = nil
	}
	return key, unavailable(ctx, err)
}

// Identify returns the ID of the one key that is meant by its ID, the beginning of its ID or of its secret, or the whole secret. Errors are
// [account.ErrNoKey] and *[AmbiguousError]. It reads no grants, so that a key whose grant is damaged can be revoked.
func (l *Ledger) Identify(ctx context.Context, given string) (string, error) {
	if given == "" {
		return "", errors.New(`"" is no key: want an ID, or how an ID or a secret begins`)
	}
	var id string
	err := l.db.QueryRowContext(ctx, `SELECT id FROM aim_keys WHERE id = $1 OR hash = $2`, given, hashOf(given)).Scan(&id)
	if err == nil || !errors.Is(err, sql.ErrNoRows) {
		return id, unavailable(ctx, err)
	}
	if isSecret(given) {
		return "", fmt.Errorf("%s…: %w", given[:shownLength], account.ErrNoKey) // a secret belongs in no error
	}
	rows, err := l.db.QueryContext(ctx, `SELECT id FROM aim_keys WHERE substr(id, 1, $1) = $2 OR substr(prefix, 1, $1) = $2 ORDER BY id`,
		utf8.RuneCountInString(given), given)
	if err != nil {
		return "", unavailable(ctx, err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err tells
	var ids []string
	for rows.Next() {
		if err := rows.Scan(&id); err != nil {
			return "", unavailable(ctx, err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return "", unavailable(ctx, err)
	}
	switch len(ids) {
	case 0:
		return "", fmt.Errorf("%q: %w", given, account.ErrNoKey)
	case 1:
		return ids[0], nil
	}
	return "", &AmbiguousError{given, ids}
}

// micros is a time as the database holds it: microseconds since 1970, 0 for never.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
