package pull

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"aim/models"
)

// plan is where the files of a model come from.
type plan struct {
	// repo is the repository on the hub that they are in, "" where they are elsewhere.
	repo  string
	parts []part
}

// part is one file.
type part struct {
	// file is its name at the source.
	file string
	// local is its path on this machine; else url is where it is.
	local string
	url   string
	// size and sha256 are what the hub's list says, 0 and "" where nobody asked it.
	size   int64
	sha256 string
	// commit is the one that the hub says the file is of, once it was asked for.
	commit string
}

const (
	hubPrefix = "hf:"
	suffix    = ".gguf"
)

// The parts of a source on a hub: owner/repo, and what follows.
var (
	repository = regexp.MustCompile(`^([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:$|/(.+)$|:([\w.-]+)$)`)
	shard      = regexp.MustCompile(`^(.+)-(\d{5})-of-(\d{5})\.gguf$`)
	hex40      = regexp.MustCompile(`^[0-9a-f]{40}$`)
	hex64      = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// maxShards bounds what the name of a file can ask for.
const maxShards = 1000

// Repository reports whether a source is a whole repository of a hub, hf:owner/repo, of which one file is to be chosen.
func Repository(source string) bool {
	m := repository.FindStringSubmatch(strings.TrimPrefix(source, hubPrefix))
	return strings.HasPrefix(source, hubPrefix) && m != nil && m[2] == "" && m[3] == ""
}

// local reads a source that is a file on this machine.
func local(source string) (*plan, error) {
	names, err := shards(filepath.Base(source))
	if err != nil {
		return nil, err
	}
	p := &plan{}
	for _, name := range names {
		at, err := filepath.Abs(filepath.Join(filepath.Dir(source), name))
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(at)
		switch {
		case err != nil:
			return nil, err
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s is not a regular file", at)
		}
		p.parts = append(p.parts, part{file: name, local: at, size: info.Size()})
	}
	return p, nil
}

// remote reads a source that is a URL.
func remote(source string) (*plan, error) {
	u, err := url.Parse(source)
	if err != nil {
		return nil, errors.New("not a URL that can be read") // the parser's words would repeat what may hold a password
	}
	if u.Host == "" {
		return nil, fmt.Errorf("%s has no host", u.Redacted())
	}
	names, err := shards(path.Base(u.Path))
	if err != nil {
		return nil, err
	}
	p := &plan{}
	for _, name := range names {
		v := *u
		if len(names) > 1 {
			v.Path, v.RawPath = path.Join(path.Dir(u.Path), name), ""
		}
		p.parts = append(p.parts, part{file: name, url: v.String()})
	}
	return p, nil
}

// shards are the names of all files of a model, of which one is given.
func shards(name string) ([]string, error) {
	m := shard.FindStringSubmatch(name)
	if m == nil {
		return []string{name}, nil
	}
	var n int
	if _, err := fmt.Sscanf(m[3], "%d", &n); err != nil || n < 1 || n > maxShards {
		return nil, fmt.Errorf("%s is one of %s files, want 1 to %d", name, m[3], maxShards)
	}
	var names []string
	for i := range n {
		names = append(names, shardName(m[1], i, n))
	}
	return names, nil
}

func shardName(name string, i, n int) string {
	return fmt.Sprintf("%s-%05d-of-%05d%s", name, i+1, n, suffix)
}

// fileNames are the names that the files of a plan get in the models folder. name is the model's, by default the source's.
func (p *plan) fileNames(name string) ([]string, error) {
	first := p.parts[0].file
	if name == "" {
		if !strings.HasSuffix(strings.ToLower(first), suffix) {
			return nil, fmt.Errorf("the source's name, %q, does not end with %s: name the model with --name", first, suffix)
		}
		name = models.Name(first)
	}
	name = strings.TrimSuffix(name, suffix)
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if len(p.parts) == 1 {
		return []string{name + suffix}, nil
	}
	var names []string
	for i := range p.parts {
		names = append(names, shardName(name, i, len(p.parts)))
	}
	return names, nil
}

// CheckName refuses a name of a model that is no plain file name, so that it cannot leave the models folder or hide in it.
func CheckName(name string) error {
	bad := strings.IndexFunc(name, func(r rune) bool { return strings.ContainsRune(`/\:*?"<>|`, r) || !unicode.IsPrint(r) })
	switch {
	case name == "" || len(name) > 200:
		return fmt.Errorf("a model's name has %d bytes, want 1 to 200", len(name))
	case strings.HasPrefix(name, "."):
		return fmt.Errorf("model name %q begins with a dot", name)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("model name %q begins or ends with a space", name)
	case bad >= 0:
		return fmt.Errorf("model name %q has a character that a file name should not have", name)
	case models.Name(name+suffix) != name:
		return fmt.Errorf("model name %q is that of one file of several", name)
	}
	return nil
}
