package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"aim/internal/account"
	"aim/internal/ledger"
	"aim/server"
)

var (
	_ server.Keys   = (*ledger.Ledger)(nil)
	_ server.Ledger = (*ledger.Ledger)(nil)
	_ server.Admin  = (*ledger.Ledger)(nil)
)

// ledgerFlags say where the accounts are.
type ledgerFlags struct{ database, stateDir, config string }

func (o *ledgerFlags) add(f *pflag.FlagSet) {
	addDatabase(f, &o.database)
	addConfig(f, &o.config)
	f.StringVar(&o.stateDir, "state-dir", "", "folder for state (default: $XDG_STATE_HOME/aim, ~/.local/state/aim)")
}

// addDatabase defines the flag --database. It is checked where it is used: errors of flags repeat their value, and this one may hold a password.
func addDatabase(f *pflag.FlagSet, p *string) {
	f.StringVar(p, "database", "", "file of the accounts, or postgres://user:password@host/database (default: that of the configuration, $AIM_DATABASE, else aim.db in the folder for state)")
}

// databaseAt is the database that a flag names, else the environment, else the one in the folder for state.
func databaseAt(flag, stateDir string) string {
	if flag != "" {
		return flag
	}
	if dsn := os.Getenv("AIM_DATABASE"); dsn != "" {
		return dsn
	}
	return filepath.Join(stateDir, "aim.db")
}

// open opens the accounts.
func (o *ledgerFlags) open(ctx context.Context, errs io.Writer, existing bool) (*ledger.Ledger, error) {
	dsn, dir, err := o.where()
	if err != nil {
		return nil, err
	}
	if err := ledger.CheckDSN(dsn); err != nil {
		return nil, usageError{fmt.Errorf("--database: %w", err)}
	}
	l, err := ledger.Open(ctx, dsn, ledger.Options{
		Spool: dir, Existing: existing, Log: slog.New(slog.NewTextHandler(errs, nil)),
	})
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w; `aim keys create` and `aim serve` make one", err)
	}
	return l, err
}

// where are the accounts, and the folder for state, of a server with these flags.
func (o *ledgerFlags) where() (dsn, dir string, err error) {
	dsn, dir = o.database, o.stateDir
	if dsn == "" || dir == "" { // else no mistake in the file keeps its owner from a revocation
		c, err := settingsOf(o.config)
		if err != nil {
			return "", "", err
		}
		configured, err := c.Accounts.DatabaseDSN()
		if err != nil {
			return "", "", err
		}
		dsn, dir = cmp.Or(dsn, configured.Reveal()), cmp.Or(dir, c.StateDir)
	}
	if dir, err = stateFolder(dir); err != nil {
		return "", "", err
	}
	return databaseAt(dsn, dir), dir, nil
}

// with runs f on the accounts.
func (o *ledgerFlags) with(ctx context.Context, errs io.Writer, existing bool, f func(*ledger.Ledger) error) error {
	l, err := o.open(ctx, errs, existing)
	if err != nil {
		return err
	}
	return errors.Join(f(l), l.Close())
}

// listValue is a flag whose value is a list, separated by commas or given by several flags.
type listValue[T any] struct {
	p     *[]T
	parse func(string) (T, error)
}

// listVar defines a flag for a list, whose items parse reads.
func listVar[T any](f *pflag.FlagSet, p *[]T, name, usage string, parse func(string) (T, error)) {
	f.Var(&listValue[T]{p, parse}, name, usage)
}

func (v *listValue[T]) String() string {
	var words []string
	for _, item := range *v.p {
		words = append(words, fmt.Sprint(item))
	}
	return strings.Join(words, ",")
}
func (v *listValue[T]) Type() string { return "list" }

// Set adds items from the command line.
func (v *listValue[T]) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		item, err := v.parse(strings.TrimSpace(word))
		if err != nil {
			return fmt.Errorf("%q: %w", word, err)
		}
		*v.p = append(*v.p, item)
	}
	return nil
}

func parsePattern(text string) (string, error) {
	if err := account.CheckPattern(text); err != nil {
		return "", fmt.Errorf("want %w", err)
	}
	return text, nil
}

func parseNetwork(text string) (netip.Prefix, error) { return account.ParseNetwork(text) }

// timeValue is a flag whose value is a time: a day or a moment of RFC 3339, in UTC where it names no zone. With now it may also be a duration from
// now, and must be in the future.
type timeValue struct {
	p   *time.Time
	now func() time.Time
}

func (v *timeValue) String() string {
	if v.p.IsZero() {
		return ""
	}
	return v.p.Format(time.RFC3339)
}
func (v *timeValue) Type() string { return "time" }

// Set reads a time from the command line.
func (v *timeValue) Set(text string) error {
	for _, layout := range []string{time.DateOnly, time.RFC3339, "2006-01-02T15:04", time.DateTime} {
		if t, err := time.Parse(layout, text); err == nil {
			*v.p = t
			return v.check()
		}
	}
	if v.now == nil {
		return errors.New("want a day such as 2026-11-27 or a time such as 2026-11-27T18:00:00Z")
	}
	d, err := parseDays(text)
	if err != nil {
		return errors.New("want a duration such as 720h or 30d, or a day such as 2026-11-27")
	}
	*v.p = v.now().Add(d)
	return v.check()
}

func (v *timeValue) check() error {
	if v.now != nil && !v.p.After(v.now()) {
		return errors.New("want a time in the future")
	}
	return nil
}

// parseDays reads a duration of Go, or a whole number of days.
func parseDays(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 100_000 {
			return 0, errors.New("no number of days")
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	return time.ParseDuration(text)
}

// shareValue is a flag for a number from 0 to 1, which may be unset.
type shareValue struct{ p **float64 }

func (v *shareValue) String() string {
	if *v.p == nil {
		return ""
	}
	return strconv.FormatFloat(**v.p, 'g', -1, 64)
}
func (v *shareValue) Type() string { return "float" }

// Set reads a share from the command line.
func (v *shareValue) Set(text string) error {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || !(x >= 0 && x <= 1) {
		return errors.New("want a number from 0 to 1")
	}
	*v.p = &x
	return nil
}
