package config

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
)

// DSN tells where a database is, often with a password. However it is printed, the password is not.
type DSN string

// Reveal is the text with its password.
func (d DSN) Reveal() string { return string(d) }

// secretParts match passwords in DSNs that are no URLs, and in the queries of those that are.
var secretParts = regexp.MustCompile(`(?i)\b((?:ssl)?password|passwd|pwd|secret|token)(\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)`)

const hidden = "xxxxx"

// String writes d with its password hidden. What cannot be understood is hidden as a whole.
func (d DSN) String() string {
	text := string(d)
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil || u.Opaque != "" {
			return hidden
		}
		text = u.Redacted()
	}
	return secretParts.ReplaceAllString(text, "$1$2"+hidden)
}

// GoString writes what String does.
func (d DSN) GoString() string { return fmt.Sprintf("%q", d.String()) }

// MarshalText writes what String does.
func (d DSN) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// maxSecret bounds what is read where the path leads to something else by mistake.
const maxSecret = 4096

// DatabaseDSN is the database that is configured, read from its file where that is given; "" for the default.
func (a *Accounts) DatabaseDSN() (DSN, error) {
	return orFile(a.Database, a.DatabaseFile, "accounts.database_file")
}

// RedisDSN is the Redis that is configured, read from its file where that is given; "" for none.
func (a *Accounts) RedisDSN() (DSN, error) {
	return orFile(a.Redis, a.RedisFile, "accounts.redis_file")
}

// orFile is the value, or the first line of the file. Errors do not tell what it holds.
func orFile(value DSN, file, path string) (DSN, error) {
	if file == "" {
		return value, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" || len(text) > maxSecret || strings.ContainsAny(text, "\n\r\x00") {
		return "", fmt.Errorf("%s: %w", path, errors.New("want one line in "+file))
	}
	return DSN(text), nil
}
