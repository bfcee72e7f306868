package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"aim/internal/account"
	"aim/internal/ledger"
)

// maxTokens bounds budgets and rates on the command line: what is more is a slip.
const maxTokens = 1_000_000_000_000_000

func newKeys() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make, list and revoke API keys",
		Long: `Keeps the API keys of a server in its database. As long as there is none, a server is open to its own machine only. Keys
that are made or revoked here count at once, also for servers that run.

A DSN with a password is better given by $AIM_DATABASE than by --database, which other users of the machine can see.`,
	}
	cmd.AddCommand(newKeysCreate(), newKeysList(), newKeysRevoke())
	return cmd
}

// keyOptions are the flags of aim keys create.
type keyOptions struct {
	ledgerFlags
	name          string
	expires       time.Time
	grant         account.Grant
	perDay, month int
	json          bool
}

func (o *keyOptions) add(f *pflag.FlagSet) {
	o.ledgerFlags.add(f)
	f.StringVar(&o.name, "name", "", "who has the key")
	f.Var(&timeValue{&o.expires, time.Now}, "expires", "when the key ends: a duration such as 720h or 30d, a day or a time (default: never)")
	g := &o.grant
	listVar(f, &g.Models, "models", "served models the key may use, as names or patterns such as smollm2-* (default: all)", parsePattern)
	listVar(f, &g.Networks, "cidr", "addresses and networks the key may be used from (default: all)", parseNetwork)
	intVar(f, &g.RequestsPerMinute, "rpm", 0, 0, maxTokens, "requests per minute, 0 for no limit")
	intVar(f, &g.TokensPerMinute, "tpm", 0, 0, maxTokens, "tokens per minute, of prompts and answers, 0 for no limit")
	intVar(f, &g.Concurrency, "concurrency", 0, 0, 1_000_000, "requests at once, 0 for no limit")
	intVar(f, &o.perDay, "tokens-per-day", 0, 0, maxTokens, "tokens in a day of the calendar in UTC, 0 for no limit")
	intVar(f, &o.month, "tokens-per-month", 0, 0, maxTokens, "tokens in a month of the calendar in UTC, 0 for no limit")
	intVar(f, &g.Priority, "priority", 1, 1, 100, "share where several keys wait: 4 is served four times the tokens of 1")
	f.BoolVar(&g.LowerUtility, "lower-utility", false, "allow requests to lower their utility below what the model imposes")
	f.Var(&shareValue{&g.MaxFocus}, "max-focus", "bound of the strength of focus, from 0 to 1 (default: the model's)")
	f.BoolVar(&g.Admin, "admin", false, "allow the endpoints under /admin")
	f.BoolVar(&o.json, "json", false, "print key and secret as JSON")
}

func newKeysCreate() *cobra.Command {
	o := &keyOptions{}
	cmd := &cobra.Command{
		Use:   "create --name NAME",
		Short: "Make a key and print its secret, which is shown only once",
		Example: `  aim keys create --name "Ada" --models 'smollm2-*' --rpm 60 --tokens-per-day 100000 --expires 30d
  export OPENAI_API_KEY=$(aim keys create --name tests)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.name == "" {
				return usageError{errors.New("--name: want who has the key, for aim keys list and aim usage")}
			}
			o.grant.TokensPerDay, o.grant.TokensPerMonth = int64(o.perDay), int64(o.month)
			if err := o.grant.Check(); err != nil {
				return usageError{err}
			}
			return o.with(cmd.Context(), cmd.ErrOrStderr(), false, func(l *ledger.Ledger) error {
				return o.create(cmd, l)
			})
		},
	}
	o.add(cmd.Flags())
	return cmd
}

func (o *keyOptions) create(cmd *cobra.Command, l *ledger.Ledger) error {
	key, secret, err := l.CreateKey(cmd.Context(), o.name, o.expires, o.grant)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "made %s for %q; this is its secret, which is not stored and cannot be shown again:\n", key.ID, key.Name)
	if o.json {
		return printJSON(cmd.OutOrStdout(), struct {
			Key    account.Key `json:"key"`
			Secret string      `json:"secret"`
		}{key, secret})
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), secret)
	return err
}

func newKeysList() *cobra.Command {
	var where ledgerFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys with what they may do",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return where.with(cmd.Context(), cmd.ErrOrStderr(), true, func(l *ledger.Ledger) error {
				keys, err := l.Keys(cmd.Context())
				if keys == nil && err != nil {
					return err
				}
				if asJSON {
					return cmp.Or(printJSON(cmd.OutOrStdout(), append([]account.Key{}, keys...)), err)
				}
				return cmp.Or(listKeys(cmd.OutOrStdout(), keys, time.Now()), err)
			})
		},
	}
	where.add(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// listKeys writes a table of keys.
func listKeys(w io.Writer, keys []account.Key, now time.Time) error {
	if len(keys) == 0 {
		_, err := fmt.Fprintln(w, "no keys; `aim keys create` makes one")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tSECRET\tNAME\tCREATED\tSTATE\tGRANT")
	for _, k := range keys {
		fmt.Fprintf(table, "%s\t%s…\t%s\t%s\t%s\t%s\n", k.ID, k.Prefix, k.Name, k.Created.Format(time.DateOnly), keyState(k, now), describe(k.Grant))
	}
	return table.Flush()
}

func keyState(k account.Key, now time.Time) string {
	switch {
	case !k.Revoked.IsZero():
		return "revoked " + k.Revoked.Format(time.DateOnly)
	case !k.Active(now):
		return "expired " + k.Expires.Format(time.DateOnly)
	case !k.Expires.IsZero():
		return "until " + k.Expires.Format(time.DateOnly)
	}
	return "active"
}

// describe says in a line what a grant allows.
func describe(g account.Grant) string {
	var parts []string
	add := func(is bool, format string, v ...any) {
		if is {
			parts = append(parts, fmt.Sprintf(format, v...))
		}
	}
	add(g.Admin, "admin")
	add(len(g.Models) > 0, "models %s", strings.Join(g.Models, " "))
	add(g.RequestsPerMinute > 0, "%d requests/min", g.RequestsPerMinute)
	add(g.TokensPerMinute > 0, "%d tokens/min", g.TokensPerMinute)
	add(g.Concurrency > 0, "%d at once", g.Concurrency)
	add(g.TokensPerDay > 0, "%d tokens/day", g.TokensPerDay)
	add(g.TokensPerMonth > 0, "%d tokens/month", g.TokensPerMonth)
	add(len(g.Networks) > 0, "from %s", strings.Trim(fmt.Sprint(g.Networks), "[]"))
	add(g.Priority > 1, "priority %d", g.Priority)
	add(g.LowerUtility, "lower utility")
	if g.MaxFocus != nil {
		add(true, "focus up to %g", *g.MaxFocus)
	}
	return cmp.Or(strings.Join(parts, ", "), "all models, no limits")
}

func newKeysRevoke() *cobra.Command {
	var where ledgerFlags
	cmd := &cobra.Command{
		Use:   "revoke ID|PREFIX",
		Short: "End a key for good and at once, also for servers that run",
		Long: `Ends a key for good and at once, also for servers that run. It is named by its ID, by the beginning of its ID or secret as
far as no other begins the same, or by the whole secret. Its usage stays.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return where.with(cmd.Context(), cmd.ErrOrStderr(), true, func(l *ledger.Ledger) error {
				key, err := l.Revoke(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s (%s…, %q) is revoked since %s\n", key.ID, key.Prefix, key.Name, key.Revoked.Format(time.RFC3339))
				return err
			})
		},
	}
	where.add(cmd.Flags())
	return cmd
}
