package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"aim/models"
)

// Listed is a model in a repository of a hub.
type Listed struct {
	// Source is what to pull it by.
	Source string `json:"source"`
	// Name is the name it would get, Files how many files it has, Bytes their size.
	Name  string `json:"name"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
	parts []part
}

// List returns the models in a repository of a hub, hf:owner/repo, sorted by name.
func List(ctx context.Context, source string, o Options) ([]Listed, error) {
	if !Repository(source) {
		return nil, fmt.Errorf("source %q is not a repository, hf:owner/repo", source)
	}
	o.defaults()
	return o.list(ctx, strings.TrimPrefix(source, hubPrefix))
}

// onHub reads a source on a hub, without its prefix.
func (o *Options) onHub(ctx context.Context, source string) (*plan, error) {
	m := repository.FindStringSubmatch(source)
	if m == nil {
		return nil, fmt.Errorf("want hf:owner/repo, hf:owner/repo/file.gguf or hf:owner/repo:Q4_K_M")
	}
	p := &plan{repo: m[1]}
	switch {
	case m[3] != "":
		all, err := o.list(ctx, p.repo)
		if err != nil {
			return nil, err
		}
		chosen, err := choose(all, m[3])
		if err != nil {
			return nil, err
		}
		p.parts = chosen.parts
	case m[2] == "":
		return nil, errors.New("a repository has more than one file: name one of those that aim pull hf:owner/repo lists")
	default:
		file := m[2]
		if path.Clean("/"+file) != "/"+file || !strings.HasSuffix(file, suffix) {
			return nil, fmt.Errorf("%q is not the path of a %s file in a repository", file, suffix)
		}
		names, err := shards(path.Base(file))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			p.parts = append(p.parts, part{file: path.Join(path.Dir(file), name)})
		}
	}
	for i := range p.parts {
		p.parts[i].url = o.resolve(p.repo, o.Revision, p.parts[i].file)
	}
	return p, nil
}

// resolve is the address of a file in a repository.
func (o *Options) resolve(repo, revision, file string) string {
	segments := strings.Split(file, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return o.Endpoint + "/" + repo + "/resolve/" + url.PathEscape(revision) + "/" + strings.Join(segments, "/")
}

// entry is a file of a repository, as the hub lists it. LFS files have the SHA-256 of their content as oid.
type entry struct {
	Type, Path string
	Size       int64
	LFS        *struct {
		OID  string
		Size int64
	}
}

// The bounds of a list: pages, and bytes of each.
const (
	maxPages = 100
	maxPage  = 16 << 20
)

// list asks the hub for the GGUF files of a repository, and groups them by models.
func (o *Options) list(ctx context.Context, repo string) ([]Listed, error) {
	at := o.Endpoint + "/api/models/" + repo + "/tree/" + url.PathEscape(o.Revision) + "?recursive=true"
	var entries []entry
	for range maxPages {
		var page []entry
		next, err := o.page(ctx, at, &page)
		if err != nil {
			return nil, fmt.Errorf("list hf:%s: %w", repo, err)
		}
		entries = append(entries, page...)
		if at = next; at == "" {
			break
		}
	}
	return group(repo, entries), nil
}

// page reads one page of a list, and returns the address of the next one.
func (o *Options) page(ctx context.Context, at string, page any) (next string, err error) {
	err = o.persist(ctx, "the hub's list", func() (bool, error) {
		ctx, alive, stop := o.watch(ctx)
		defer stop()
		resp, _, err := o.get(ctx, at, nil)
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return false, o.refusal(resp, at)
		}
		content, err := io.ReadAll(io.LimitReader(&watched{resp.Body, alive}, maxPage))
		if err != nil {
			return false, cause(ctx, err)
		}
		if err := json.Unmarshal(content, page); err != nil {
			return false, &fatalError{fmt.Errorf("the answer is not a list of files: %w", err)}
		}
		next = nextPage(resp)
		return false, nil
	})
	return next, err
}

// nextPage is the address in a Link header, if it is of the same host.
func nextPage(resp *http.Response) string {
	for link := range strings.SplitSeq(resp.Header.Get("Link"), ",") {
		target, attributes, ok := strings.Cut(link, ";")
		if !ok || !strings.Contains(attributes, `rel="next"`) {
			continue
		}
		u, err := resp.Request.URL.Parse(strings.Trim(strings.TrimSpace(target), "<>"))
		if err == nil && u.Host == resp.Request.URL.Host {
			return u.String()
		}
	}
	return ""
}

// group makes models of files. Those that lack a part are left out, and so are projectors of images, which are none.
func group(repo string, entries []entry) (all []Listed) {
	byPath := map[string]part{}
	for _, e := range entries {
		if e.Type != "file" || !strings.HasSuffix(e.Path, suffix) || strings.HasPrefix(strings.ToLower(path.Base(e.Path)), "mmproj") {
			continue
		}
		p := part{file: e.Path, size: e.Size}
		if e.LFS != nil && hex64.MatchString(e.LFS.OID) {
			p.size, p.sha256 = e.LFS.Size, e.LFS.OID
		}
		byPath[e.Path] = p
	}
	for at := range byPath {
		names, err := shards(path.Base(at))
		if err != nil || names[0] != path.Base(at) {
			continue
		}
		l := Listed{Source: hubPrefix + repo + "/" + at, Name: models.Name(at), Files: len(names)}
		for _, name := range names {
			p, ok := byPath[path.Join(path.Dir(at), name)]
			if !ok {
				break
			}
			l.parts = append(l.parts, p)
			l.Bytes += p.size
		}
		if len(l.parts) == len(names) {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b Listed) int { return strings.Compare(a.Source, b.Source) })
	return all
}

// choose finds the one model whose name has a quantization such as Q4_K_M as a word of its own.
func choose(all []Listed, quantization string) (*Listed, error) {
	var found []*Listed
	var names []string
	for i := range all {
		words := strings.FieldsFunc(strings.ToUpper(all[i].Name), func(r rune) bool { return r == '-' || r == '.' })
		if slices.Contains(words, strings.ToUpper(quantization)) {
			found = append(found, &all[i])
		}
		names = append(names, all[i].Name)
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(all) == 0:
		return nil, errors.New("the repository has no GGUF files")
	case len(found) == 0:
		return nil, fmt.Errorf("no model there is quantized as %q; there are %s", quantization, strings.Join(names, ", "))
	}
	names = nil
	for _, l := range found {
		names = append(names, l.Source)
	}
	return nil, fmt.Errorf("%d models there are quantized as %q: name one, %s", len(found), quantization, strings.Join(names, ", "))
}
