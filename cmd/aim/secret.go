package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"aim/internal/config"
	"aim/internal/state"
)

// secretFlags say where the owner's secret is.
type secretFlags struct{ config, stateDir string }

func (o *secretFlags) add(f *pflag.FlagSet) {
	addConfig(f, &o.config)
	f.StringVar(&o.stateDir, "state-dir", "", "folder for state (default: $XDG_STATE_HOME/aim, ~/.local/state/aim)")
}

// path is where a server with these settings has its secret.
func (o *secretFlags) path() (string, error) {
	c, err := settingsOf(o.config)
	if err != nil {
		return "", err
	}
	if c.SecretFile != "" {
		return c.SecretFile, nil
	}
	dir, err := stateFolder(cmp.Or(o.stateDir, c.StateDir))
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "secret"), nil
}

// addConfig defines the flag --config of commands that look where a server has something.
func addConfig(f *pflag.FlagSet, p *string) {
	f.StringVar(p, "config", "", "configuration file of the server (default: $AIM_CONFIG)")
}

// settingsOf are those of a server's configuration file, else of $AIM_CONFIG, else of the environment alone.
func settingsOf(path string) (*config.Config, error) {
	path = cmp.Or(path, os.Getenv("AIM_CONFIG"))
	var c *config.Config
	var err error
	if path == "" {
		c, err = config.FromEnviron(configOptions())
	} else {
		c, err = config.Load(path, configOptions())
	}
	if err != nil {
		return nil, mistakes(err)
	}
	return c, nil
}

func newSecret() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Tell where the owner's secret is, and replace it",
		Long: `The noise of utility modulation is keyed by a secret of the owner's, which Aim makes at its first start: whoever knows it can take the
noise out again. It is in the folder for state, or in the file that secret_file of the configuration or $AIM_SECRET_FILE names. No command prints it.`,
	}
	cmd.AddCommand(newSecretRotate(),
		secretCommand("path", "Print the path of the secret's file", func(path string) (string, error) { return path, nil }),
		secretCommand("fingerprint", "Print a short hash of the secret, which is the same where replicas agree", fingerprintOf))
	return cmd
}

// secretCommand is a command that prints a line about the secret at a path.
func secretCommand(use, short string, tell func(path string) (string, error)) *cobra.Command {
	var where secretFlags
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		path, err := where.path()
		if err != nil {
			return err
		}
		line, err := tell(path)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), line)
		return err
	}}
	where.add(cmd.Flags())
	return cmd
}

// fingerprintOf is a hash of a secret that tells nothing of it: secrets have 256 random bits.
func fingerprintOf(path string) (string, error) {
	secret, err := state.SecretFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte("fingerprint of the owner's secret\n"), secret...))
	return hex.EncodeToString(sum[:8]), nil
}

func newSecretRotate() *cobra.Command {
	cmd := secretCommand("rotate", "Replace the secret by a new one, and keep the old one beside it", func(path string) (string, error) {
		if err := state.Rotate(path); err != nil {
			return "", err
		}
		print, err := fingerprintOf(path)
		return fmt.Sprintf("%s is new, with the fingerprint %s; as it was it is %s.old", path, print, path), err
	})
	cmd.Long = `Replaces the secret by a new one and keeps the old one beside it, named .old. Servers that run take it over at SIGHUP; replicas that share it
need the same file. All noise is another from then on, so that whoever asked before gets one more look at the same rows: rotate when the secret may be
known, not by the calendar. Levels and calibrations stay.`
	return cmd
}
