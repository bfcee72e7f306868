package imports

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rule forbids imports. Paths end in "/..." to mean everything below as well.
type rule struct {
	// of are the packages it holds for, all of the module where empty; except are those it does not hold for.
	of, except []string
	// imports must not be imported, directly or through others.
	imports []string
	// direct looks only at a package's own imports, not at those of the packages it imports.
	direct bool
	// tests holds for the package's tests, too.
	tests   bool
	because string
}

const (
	outside = "(anything outside the standard library)"
	gin     = "github.com/gin-gonic/gin/..."
	sse     = "github.com/tmaxmax/go-sse/..."
	ollama  = "github.com/ollama/ollama/..."
)

var rules = []rule{
	{
		of: []string{"aim/sampler"}, imports: []string{outside, "aim/..."},
		because: "the mathematics is checkable alone, and reusable",
	},
	{
		of: []string{"aim/llama", "aim/llama/llamatest"}, imports: []string{gin, sse, "net/http", ollama},
		because: "the scheduler is tested without a compiler or a socket",
	},
	{
		of: []string{"aim/llama/cpp"}, imports: []string{"aim/server/...", gin},
		because: "a driver knows no transport",
	},
	{
		of: []string{"aim/server/..."}, imports: []string{"aim/llama/cpp", ollama, "aim/web/..."}, tests: true,
		because: "handlers are tested against the fake",
	},
	{
		of: []string{"aim/web"}, imports: []string{outside, "aim/..."},
		because: "the page knows the API as any client does",
	},
	{
		of: []string{"aim/models/...", "aim/internal/..."}, imports: []string{"aim/server/...", "aim/llama/cpp", "aim/cmd/..."},
		because: "what everything may use depends on nothing that is heavy to build",
	},
	{
		except: []string{"aim/server/..."}, imports: []string{gin}, direct: true,
		because: "there is one place to change the transport",
	},
	{
		except: []string{"aim/server/...", "aim/internal/bench"}, imports: []string{sse}, direct: true,
		because: "streams are written in one place, and read in one: where other servers are measured",
	},
	{
		except: []string{"aim/llama/cpp"}, imports: []string{ollama, "C"}, direct: true, tests: true,
		because: "there is one place to change the binding",
	},
}

func TestImports(t *testing.T) {
	graph := load(t)
	for _, r := range rules {
		for path, p := range graph {
			if !p.ours() || (len(r.of) > 0 && !matches(path, r.of)) || matches(path, r.except) {
				continue
			}
			if chain := graph.find(path, r); chain != nil {
				t.Errorf("%s\nmust not be, because %s", strings.Join(chain, "\n\timports "), r.because)
			}
		}
	}
}

// TestRules makes sure that the rules would notice: each forbids something that an invented import would be.
func TestRules(t *testing.T) {
	invented := graph{
		"aim/sampler":    {ImportPath: "aim/sampler", Imports: []string{"example.org/numbers"}},
		"aim/llama":      {ImportPath: "aim/llama", Imports: []string{"aim/internal/x"}},
		"aim/internal/x": {ImportPath: "aim/internal/x", Imports: []string{"net/http", "aim/llama/cpp"}},
		"aim/llama/cpp":  {ImportPath: "aim/llama/cpp", Imports: []string{"github.com/gin-gonic/gin"}},
		"aim/web":        {ImportPath: "aim/web", Imports: []string{"aim/server"}},
		"aim/server":     {ImportPath: "aim/server", TestImports: []string{"aim/llama/cpp"}},
		"aim/cmd/aim":    {ImportPath: "aim/cmd/aim", Imports: []string{"github.com/gin-gonic/gin", "github.com/tmaxmax/go-sse", "github.com/ollama/ollama/llama"}},
		"net/http":       {ImportPath: "net/http", Standard: true},
	}
	violators := []string{"aim/sampler", "aim/llama", "aim/llama/cpp", "aim/server", "aim/web", "aim/internal/x", "aim/cmd/aim", "aim/cmd/aim", "aim/cmd/aim"}
	for i, r := range rules {
		if invented.find(violators[i], r) == nil {
			t.Errorf("rule %d (%s) does not notice %v", i, r.because, invented[violators[i]])
		}
	}
}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath                         string
	Standard                           bool
	Imports, TestImports, XTestImports []string
}

func (p pkg) ours() bool { return strings.HasPrefix(p.ImportPath, "aim/") }

type graph map[string]pkg

// load asks go list for all packages of the module and what they depend on.
func load(t *testing.T) graph {
	t.Helper()
	const root = "../.."
	dependOn(t, root)
	cmd := exec.Command("go", "list", "-e", "-deps", "-test=false", "-json=ImportPath,Standard,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	// With cgo, go list also sees the files that import "C"; it does not compile them.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	g := graph{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		g[p.ImportPath] = p
	}
	if _, ok := g["aim/llama/cpp"]; !ok {
		t.Fatalf("go list left out aim/llama/cpp; it gave %d packages", len(g))
	}
	return g
}

// dependOn visits every folder of Go files, which tells the cache of go test that the outcome depends on them.
func dependOn(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin") {
			return filepath.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// find returns a chain of imports from a package to one that the rule forbids, nil if there is none.
func (g graph) find(from string, r rule) []string {
	type visit struct {
		path  string
		chain []string
	}
	seen := map[string]bool{from: true}
	for queue := []visit{{from, []string{from}}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		p := g[at.path]
		imports := p.Imports
		if at.path == from && r.tests {
			imports = slices.Concat(imports, p.TestImports, p.XTestImports)
		}
		for _, next := range imports {
			if seen[next] {
				continue
			}
			seen[next] = true
			chain := append(slices.Clone(at.chain), next)
			if g.forbids(r, next) {
				return chain
			}
			if !r.direct && !g[next].Standard { // what the standard library imports is its own affair
				queue = append(queue, visit{next, chain})
			}
		}
	}
	return nil
}

func (g graph) forbids(r rule, path string) bool {
	if slices.Contains(r.imports, outside) && !g[path].Standard && strings.Contains(path, ".") {
		return true
	}
	return matches(path, r.imports)
}

// matches tells whether a path is one of the patterns.
func matches(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if below, ok := strings.CutSuffix(pattern, "/..."); ok {
			return path == below || strings.HasPrefix(path, below+"/")
		}
		return path == pattern
	})
}
