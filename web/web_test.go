package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

// ask sends a request to a handler, with headers in pairs.
func ask(h http.Handler, method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func zip(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sample(t *testing.T) http.Handler {
	return newPage(fstest.MapFS{
		".gitignore":             {Data: []byte("*")},
		"index.html":             {Data: []byte("<p>page</p>")},
		"index.html.gz":          {Data: zip(t, "<p>page</p>")},
		"index.html.br":          {Data: []byte("brotli")},
		"licenses.txt":           {Data: []byte("MIT")},
		"assets/main-AB12.js":    {Data: []byte("code()")},
		"assets/main-AB12.js.gz": {Data: zip(t, "code()")},
	})
}

func TestPage(t *testing.T) {
	h := sample(t)
	for _, test := range []struct {
		path, accept          string
		status                int
		encoding, kind, lasts string
		body                  string
	}{
		{"/", "", 200, "", "text/html; charset=utf-8", "no-cache", "<p>page</p>"},
		{"/", "gzip, deflate, br", 200, "br", "text/html; charset=utf-8", "no-cache", "brotli"},
		{"/", "GZIP;q=0.5, br;q=0", 200, "gzip", "text/html; charset=utf-8", "no-cache", ""},
		{"/assets/main-AB12.js", "br", 200, "", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable", "code()"},
		{"/assets/licenses.txt", "", 200, "", "text/plain; charset=utf-8", "no-cache", "MIT"},
		{"/assets/main-AB12.js.gz", "", 404, "", "text/plain; charset=utf-8", "", ""},
		{"/assets/../.gitignore", "", 404, "", "text/plain; charset=utf-8", "", ""},
		{"/.gitignore", "", 404, "", "text/plain; charset=utf-8", "", ""},
		{"/index.html", "", 404, "", "text/plain; charset=utf-8", "", ""},
	} {
		w := ask(h, http.MethodGet, test.path, "Accept-Encoding", test.accept)
		got := w.Header()
		if w.Code != test.status || got.Get("Content-Encoding") != test.encoding || got.Get("Content-Type") != test.kind || got.Get("Cache-Control") != test.lasts {
			t.Errorf("%s with %q: %d %v", test.path, test.accept, w.Code, got)
		}
		if test.body != "" && w.Body.String() != test.body {
			t.Errorf("%s with %q: %q, want %q", test.path, test.accept, w.Body, test.body)
		}
		if w.Code == 200 && got.Get("Content-Security-Policy") != policy {
			t.Errorf("%s: Content-Security-Policy is %q", test.path, got.Get("Content-Security-Policy"))
		}
	}
}

// TestRevalidate: a browser that has the page is told so, for the form it has.
func TestRevalidate(t *testing.T) {
	h := sample(t)
	plain, zipped := ask(h, "GET", "/").Header().Get("ETag"), ask(h, "GET", "/", "Accept-Encoding", "gzip").Header().Get("ETag")
	if plain == "" || plain == zipped {
		t.Fatalf("tags %q and %q", plain, zipped)
	}
	if w := ask(h, "GET", "/", "If-None-Match", `"other", W/`+plain); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
		t.Errorf("the same page: %d, %d bytes", w.Code, w.Body.Len())
	}
	if w := ask(h, "GET", "/", "If-None-Match", plain, "Accept-Encoding", "gzip"); w.Code != http.StatusOK {
		t.Errorf("the page in another form: %d", w.Code)
	}
	if w := ask(h, "HEAD", "/"); w.Code != http.StatusOK || w.Body.Len() > 0 || w.Header().Get("Content-Length") != "11" {
		t.Errorf("HEAD: %d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
	}
	if w := ask(h, "POST", "/"); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
}

func TestOver(t *testing.T) {
	h := Over(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	for _, path := range []string{"/v1/models", "/health", "/assets", "/index.html", "//"} {
		if w := ask(h, "GET", path); w.Code != http.StatusTeapot {
			t.Errorf("%s: %d, want the API's answer", path, w.Code)
		}
	}
	if w := ask(h, "POST", "/"); w.Code != http.StatusTeapot {
		t.Errorf("POST /: %d, want the API's answer", w.Code)
	}
	if w := ask(h, "GET", "/"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "<title>Aim") {
		t.Errorf("/: %d %s", w.Code, w.Body)
	}
}

// TestPlaceholder: what is served where the page was not built stays within the policy, too.
func TestPlaceholder(t *testing.T) {
	root, err := fs.Sub(files, "placeholder")
	if err != nil {
		t.Fatal(err)
	}
	w := ask(newPage(root), "GET", "/")
	if text := w.Body.String(); w.Code != 200 || !strings.Contains(text, "make web build") {
		t.Errorf("%d %s", w.Code, text)
	}
	own(t, w.Body.String())
}

// own fails where a page has scripts or styles inline, or names another host.
func own(t *testing.T, page string) {
	t.Helper()
	for _, pattern := range []string{`<script>`, `<style`, ` style=`, ` on[a-z]+=`, `(src|href)="[a-z]+:`, `(src|href)="//`} {
		if found := regexp.MustCompile(`(?i)` + pattern).FindString(page); found != "" {
			t.Errorf("the page has %q, which its policy forbids", found)
		}
	}
}

// TestBuilt looks at the page that is embedded: it is whole, and small.
func TestBuilt(t *testing.T) {
	if !Built() {
		t.Skip("the page was not built; make web does, with Node.js")
	}
	h := Handler()
	w := ask(h, "GET", "/")
	own(t, w.Body.String())
	names := regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`).FindAllStringSubmatch(w.Body.String(), -1)
	if len(names) < 4 {
		t.Errorf("the page names %d files, want its icon, theme, style and script", len(names))
	}
	for _, name := range names {
		if w := ask(h, "GET", name[1]); w.Code != 200 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", name[1], w.Code, w.Header())
		}
	}
	const most = 200_000
	sum := 0
	for path, f := range h.(page) {
		if strings.HasSuffix(path, "licenses.txt") {
			continue
		}
		z, ok := f.forms["gzip"]
		if !ok {
			t.Errorf("%s was not compressed", path)
		}
		sum += len(z.content)
		text := string(f.forms[""].content)
		if strings.Contains(text, "sourceMappingURL") || strings.Contains(text, "eval(") || strings.Contains(text, "new Function(") {
			t.Errorf("%s names a source map, or makes code of text, which its policy forbids", path)
		}
	}
	if sum > most {
		t.Errorf("the page is %d bytes gzipped, want at most %d", sum, most)
	}
	t.Logf("the page is %d bytes gzipped", sum)
}
