package config

import (
	"fmt"
	"strings"
)

// Reference is the table of all settings for docs/configuration.md, in Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString("| setting | default | flag | reload | |\n| --- | --- | --- | --- | --- |\n")
	for _, s := range settings() {
		if !s.leaf() {
			continue
		}
		flag := strings.TrimPrefix(s.field.Tag.Get("flag"), "!")
		if flag != "" {
			flag = "`--" + flag + "`"
		}
		def := s.def()
		if def != "" {
			def = "`" + def + "`"
		}
		reload := "restart"
		if s.now {
			reload = "at once"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", s.path, def, flag, reload, cell(s.doc()+wants(s.field.Tag.Get("check"))))
	}
	return b.String()
}

// wants is a domain in words, as far as it is one of words or of numbers.
func wants(check string) string {
	if lo, hi, ok := strings.Cut(check, ".."); ok {
		return fmt.Sprintf(" %s to %s.", lo, hi)
	}
	if strings.Contains(check, "|") {
		return " " + strings.ReplaceAll(check, "|", ", ") + "."
	}
	return ""
}

// cell is a text that ends no cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
