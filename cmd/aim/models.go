package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"aim/models"
)

func newModels() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "models",
		Short: "List the models in the models folder, show and delete them",
		Long: `Lists the GGUF files in the models folder ($AIM_MODELS, else $XDG_DATA_HOME/aim/models, by default
~/.local/share/aim/models) with what their headers say, and what is wrong with those that cannot be used.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := models.Folder()
			if err != nil {
				return err
			}
			if asJSON {
				return listJSON(cmd.OutOrStdout(), dir)
			}
			return listModels(cmd.OutOrStdout(), dir)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(newShowModel(), newDeleteModels(), newExportTokenizer())
	return cmd
}

func newExportTokenizer() *cobra.Command {
	return &cobra.Command{
		Use:   "export-tokenizer MODEL DIR",
		Short: "Write a model's tokenizer as Hugging Face's libraries read it",
		Long: `Writes tokenizer.json and tokenizer_config.json from the header of a GGUF file into a folder, for programs that want a
tokenizer on their own machine and know no GGUF: transformers.AutoTokenizer.from_pretrained("DIR") loads it. Files of these
names are replaced. The tokenizers of Llama, Gemma 3, Qwen 2, SmolLM and GPT-2, and those of their kinds, can be written.`,
		Example:           `  aim models export-tokenizer SmolLM2-135M-Instruct.Q4_1 tokenizer`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeModelThenFolder,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := modelPath(args[0])
			if err != nil {
				return err
			}
			tokenizer, err := models.ReadTokenizer(path)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			return tokenizer.Write(args[1])
		},
	}
}

func completeModelThenFolder(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return completeModels(cmd, args, prefix)
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// modelPath is the path of a model, named as [models.Find] takes it.
func modelPath(name string) (string, error) {
	dir, err := models.Folder()
	if err != nil {
		return "", err
	}
	return models.Find(dir, name)
}

// listModels writes a table of the models in a folder.
func listModels(w io.Writer, dir string) error {
	paths, err := models.Files(dir)
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		_, err := fmt.Fprintf(w, "no models in %s; `make model` fetches a small one, and `aim pull` any other\n", dir)
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tSIZE\tPARAMETERS\tARCHITECTURE\tQUANTIZATION\tCONTEXT")
	for _, path := range paths {
		facts, err := models.Read(path)
		if err != nil {
			fmt.Fprintf(table, "%s\tbroken: %v\n", models.Name(path), err)
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\n", models.Name(path), scaled(float64(facts.Size), "B"),
			scaled(float64(facts.Parameters), ""), facts.Architecture, facts.Quantization, facts.Context)
	}
	return table.Flush()
}

// scaled writes a quantity with three digits and a decimal prefix: 98.4 MB, 135 M, 7.62 G.
func scaled(v float64, unit string) string {
	prefixes := []string{"", "k", "M", "G", "T"}
	i := 0
	for v >= 999.5 && i < len(prefixes)-1 {
		v /= 1000
		i++
	}
	return fmt.Sprintf("%.3g %s%s", v, prefixes[i], unit)
}

// complete registers a completion of a flag that is known to exist.
func complete(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // a misspelt name here
	}
}

// completeModels completes the name of a model, or the path of a file.
func completeModels(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	dir, err := models.Folder()
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	paths, err := models.Files(dir)
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []cobra.Completion
	for _, p := range paths {
		names = append(names, models.Name(p))
	}
	return names, cobra.ShellCompDirectiveDefault
}
