package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"aim/internal/config"
	"aim/internal/state"
	"aim/models"
)

// configFile is the file that is read where none is named.
func configFile() string { return cmp.Or(os.Getenv("AIM_CONFIG"), "aim.yaml") }

// configOptions are what a configuration is read with.
func configOptions() config.Options {
	return config.Options{Environ: os.Environ(), Parameters: parameters{}}
}

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check, print and upgrade configuration files",
		Long: `Works on configuration files: one aim.yaml says how the server listens, where accounts are kept, which models are loaded
and what is offered of them. Where no file is named it is $AIM_CONFIG, or aim.yaml in the current folder; - is standard input.`,
		Example: `  aim config example > aim.yaml      # all settings, with comments
  aim config check                   # all mistakes, each with its place
  aim config print                   # what is in force, and where it came from`,
	}
	cmd.AddCommand(newConfigCheck(), newConfigPrint(), newConfigUpgrade(),
		writes("schema", "Print the JSON schema of configuration files, for editors", config.Schema),
		writes("example", "Print a configuration file with all settings, their defaults and comments", func() []byte { return config.Example }))
	return cmd
}

// writes is a command that prints a text.
func writes(use, short string, text func() []byte) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		_, err := cmd.OutOrStdout().Write(text())
		return err
	}}
}

// readConfig reads the file that a command names.
func readConfig(cmd *cobra.Command, args []string) (*config.Config, error) {
	path := configFile()
	if len(args) > 0 {
		path = args[0]
	}
	var c *config.Config
	var err error
	if path == "-" {
		var text []byte
		if text, err = io.ReadAll(cmd.InOrStdin()); err == nil {
			c, err = config.Parse("standard input", text, configOptions())
		}
	} else {
		c, err = config.Load(path, configOptions())
	}
	if err != nil {
		return nil, mistakes(err)
	}
	for _, w := range c.Warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
	}
	return c, nil
}

// mistakes counts them where there are several, each on a line of its own.
func mistakes(err error) error {
	var list config.Errors
	if errors.As(err, &list) && len(list) > 1 {
		return fmt.Errorf("%d mistakes\n%w", len(list), err)
	}
	return err
}

func newConfigCheck() *cobra.Command {
	noFiles := false
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say what is wrong with a configuration file",
		Long: `Reads a configuration file as aim serve would, with the environment, and lists all mistakes, each with file, line, column
and what to write instead. It also looks whether the files that it names are there.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := readConfig(cmd, args)
			if err != nil {
				return err
			}
			if !noFiles {
				if err := missing(c); err != nil {
					return mistakes(err)
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is fine: %d base models, %d virtual models\n", cmp.Or(c.Source(), "it"), len(c.Models), len(c.VirtualModels))
			return nil
		},
	}
	cmd.Flags().BoolVar(&noFiles, "no-files", false, "do not look for the files that it names, such as where it is written for another machine")
	return cmd
}

// missing refuses files and models that are not there.
func missing(c *config.Config) error {
	if err := c.Missing(); err != nil {
		return err
	}
	dir, err := models.Folder()
	if err != nil {
		return err
	}
	for name, m := range c.Models {
		if strings.Contains(m.File, ":") { // in a repository
			continue
		}
		if _, err := models.Find(dir, m.File); err != nil {
			o := c.Origin("models." + name + ".file")
			return config.Errors{{Source: cmp.Or(o.Name, c.Source()), Line: o.Line, Column: o.Column, Path: "models." + name + ".file", Problem: err.Error()}}
		}
	}
	return nil
}

func newConfigPrint() *cobra.Command {
	variables := false
	cmd := &cobra.Command{
		Use:   "print [FILE]",
		Short: "Print the settings in force, and where each came from",
		Long: `Prints the whole configuration that aim serve would have with a file and the environment, defaults included, with where each
setting came from. Passwords are hidden.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if variables {
				return printVariables(cmd.OutOrStdout())
			}
			c, err := readConfig(cmd, args)
			if err != nil {
				return err
			}
			return c.Print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&variables, "variables", false, "print instead which variables of the environment override which settings")
	return cmd
}

func printVariables(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range config.Variables() {
		fmt.Fprintf(t, "%s\t%s\t%s\n", v.Name, v.Path, v.Doc)
	}
	return t.Flush()
}

func newConfigUpgrade() *cobra.Command {
	show := false
	cmd := &cobra.Command{
		Use:   "upgrade [FILE]",
		Short: "Rewrite an older configuration file to the form of today",
		Long: `Rewrites a configuration file of an older version to the one that this program reads. Comments and order stay. The file as it was is
kept beside it, with .bak at its end.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := configFile()
			if len(args) > 0 {
				path = args[0]
			}
			return upgradeConfig(cmd, path, show)
		},
	}
	cmd.Flags().BoolVar(&show, "print", false, "print it, and leave the file alone")
	return cmd
}

func upgradeConfig(cmd *cobra.Command, path string, show bool) error {
	before, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	after, notes, err := config.Upgrade(path, before)
	if err != nil {
		return mistakes(err)
	}
	if show {
		_, err := cmd.OutOrStdout().Write(after)
		return err
	}
	if len(notes) == 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "%s is of version %d already\n", path, config.Version)
		return nil
	}
	if err := state.Write(path+".bak", before); err != nil {
		return err
	}
	if err := state.Write(path, after); err != nil {
		return err
	}
	for _, n := range notes {
		fmt.Fprintln(cmd.OutOrStdout(), n)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s is of version %d now; as it was it is %s.bak\n", path, config.Version, path)
	return nil
}
