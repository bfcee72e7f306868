package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"aim/internal/calibrate"
	"aim/internal/optimize"
	"aim/models"
)

func newDeleteModels() *cobra.Command {
	var yes bool
	var stateDir string
	cmd := &cobra.Command{
		Use:     "delete MODEL...",
		Aliases: []string{"rm"},
		Short:   "Delete models from the models folder",
		Long: `Deletes models from the models folder: all files of one that is split, what is left of downloads, the file that aim optimize made
of it, and what aim calibrate measured. Files elsewhere are not touched. It asks first; without a terminal it wants --yes.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeModels,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := models.Folder()
			if err != nil {
				return err
			}
			kept, err := stateFolder(stateDir)
			if err != nil {
				return err
			}
			return deleteModels(streamsOf(cmd), dir, calibrate.Store{Dir: kept}, args, yes)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&yes, "yes", false, "do not ask")
	f.StringVar(&stateDir, "state-dir", "", "folder of calibrations (default: $XDG_STATE_HOME/aim, ~/.local/state/aim)")
	return cmd
}

// deleteModels deletes models, none where one of the names is wrong.
func deleteModels(std streams, dir string, store calibrate.Store, names []string, yes bool) error {
	files := make([][]models.Belonging, len(names))
	for i, name := range names {
		var err error
		if files[i], err = models.Belongings(dir, name); err != nil {
			return err
		}
		files[i] = append(files[i], optimized(dir, name)...)
	}
	if !yes && (!isTerminal(std.in) || !isTerminal(std.err)) {
		return usageError{errors.New("deleting asks first, and there is no terminal: say --yes")}
	}
	answers := bufio.NewReader(std.in)
	for i, name := range names {
		name = models.Name(name)
		bytes := int64(0)
		for _, f := range files[i] {
			bytes += f.Bytes
		}
		if !yes {
			fmt.Fprintf(std.err, "Delete %s, %d files with %s? [y/N] ", name, len(files[i]), scaled(float64(bytes), "B"))
			answer, err := answers.ReadString('\n')
			if answer = strings.ToLower(strings.TrimSpace(answer)); err != nil || answer != "y" && answer != "yes" {
				fmt.Fprintln(std.err, "kept")
				continue
			}
		}
		for _, f := range files[i] {
			if err := os.Remove(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		calibrations, err := store.Forget(name)
		if err != nil {
			return fmt.Errorf("%s is deleted, its calibrations are not: %w", name, err)
		}
		fmt.Fprintf(std.out, "%s is deleted: %d files, %s; %d calibrations\n", name, len(files[i]), scaled(float64(bytes), "B"), calibrations)
	}
	return nil
}

// optimized are the record of aim optimize about a model, and the file that it keeps.
func optimized(dir, name string) (files []models.Belonging) {
	path := optimize.RecordPath(filepath.Join(dir, models.Name(name)+".gguf"))
	content, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	paths := []string{path}
	var r optimize.Record
	if json.Unmarshal(content, &r) == nil && r.Kept != nil && r.Kept.File == filepath.Base(r.Kept.File) {
		paths = append(paths, filepath.Join(filepath.Dir(path), r.Kept.File))
	}
	for _, p := range paths {
		if info, err := os.Lstat(p); err == nil && info.Mode().IsRegular() {
			files = append(files, models.Belonging{Path: p, Bytes: info.Size()})
		}
	}
	return files
}
