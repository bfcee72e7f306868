package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"aim/internal/account"
	"aim/internal/ledger"
)

// usageOptions are the flags of aim usage.
type usageOptions struct {
	ledgerFlags
	query     account.Query
	json, csv bool
}

func newUsage() *cobra.Command {
	o := &usageOptions{}
	cmd := &cobra.Command{
		Use:   "usage",
		Short: "Sum up the requests and tokens of keys and models",
		Long: `Sums up what requests took, each once, also those that failed or whose client left. Days and months are those of the
calendar in UTC, and a request counts when it began.`,
		Example: `  aim usage --by month
  aim usage --from 2026-11-01 --by key,day --csv > november.csv
  aim usage --key aim-Hk3d --by model`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.json && o.csv {
				return usageError{errors.New("--json and --csv: give one of them")}
			}
			if q := o.query; !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
				return usageError{fmt.Errorf("--to %s: want a time after --from %s", cmd.Flag("to").Value, cmd.Flag("from").Value)}
			}
			if slices.Contains(o.query.By, "day") && slices.Contains(o.query.By, "month") {
				return usageError{errors.New("--by: day and month: give one of them")}
			}
			return o.with(cmd.Context(), cmd.ErrOrStderr(), true, func(l *ledger.Ledger) error { return o.show(cmd, l) })
		},
	}
	f := cmd.Flags()
	o.add(f)
	f.StringVar(&o.query.Key, "key", "", "usage of this key only: its ID, or the beginning of its ID or secret")
	f.StringVar(&o.query.Model, "model", "", "usage of this model only")
	f.Var(&timeValue{p: &o.query.From}, "from", "usage from this day or time on")
	f.Var(&timeValue{p: &o.query.To}, "to", "usage before this day or time")
	listVar(f, &o.query.By, "by", "what is told apart: any of "+strings.Join(account.Groupings, ","), func(word string) (string, error) {
		if !slices.Contains(account.Groupings, word) {
			return "", fmt.Errorf("want one of %s", strings.Join(account.Groupings, ", "))
		}
		return word, nil
	})
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.csv, "csv", false, "print CSV")
	return cmd
}

func (o *usageOptions) show(cmd *cobra.Command, l *ledger.Ledger) error {
	ctx, q := cmd.Context(), o.query
	if q.Key != "" {
		var err error
		if q.Key, err = l.Identify(ctx, q.Key); err != nil {
			return err
		}
	}
	totals, err := l.Totals(ctx, q)
	if err != nil {
		return err
	}
	switch {
	case o.json:
		return printJSON(cmd.OutOrStdout(), append([]account.Total{}, totals...))
	case o.csv:
		w := csv.NewWriter(cmd.OutOrStdout())
		return w.WriteAll(usageTable(q.By, totals, nil)) // it flushes
	}
	names := map[string]string{"": "(no key)"}
	if slices.Contains(q.By, "key") {
		keys, err := l.Keys(ctx)
		if keys == nil && err != nil {
			return err
		}
		for _, k := range keys {
			names[k.ID] = k.ID + " " + k.Name
		}
	}
	return writeTable(cmd.OutOrStdout(), usageTable(q.By, totals, names))
}

// usageTable is a table of totals with its header. Keys have names where some are given.
func usageTable(by []string, totals []account.Total, names map[string]string) [][]string {
	var header []string
	period := slices.Contains(by, "day") || slices.Contains(by, "month")
	for _, column := range []struct {
		name string
		is   bool
	}{{"period", period}, {"key", slices.Contains(by, "key")}, {"model", slices.Contains(by, "model")}} {
		if column.is {
			header = append(header, column.name)
		}
	}
	table := [][]string{append(slices.Clone(header), "requests", "failed", "prompt_tokens", "cached_tokens", "completion_tokens")}
	for _, t := range totals {
		if name, ok := names[t.Key]; ok {
			t.Key = name
		}
		var row []string
		for _, column := range header {
			row = append(row, map[string]string{"period": t.Period, "key": t.Key, "model": t.Model}[column])
		}
		for _, n := range []int64{t.Requests, t.Failed, t.PromptTokens, t.CachedTokens, t.CompletionTokens} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		table = append(table, row)
	}
	return table
}

// writeTable writes a table for people, its header in capitals.
func writeTable(w io.Writer, table [][]string) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, row := range table {
		line := strings.Join(row, "\t")
		if i == 0 {
			line = strings.ReplaceAll(strings.ToUpper(line), "_", " ")
		}
		fmt.Fprintln(out, line)
	}
	return out.Flush()
}
