// Package web is the playground: the page at /, which shows what modulation does. Its source is in app/, in TypeScript; `make web` builds it into
// dist/, which is embedded here. Where it was not built, a placeholder says how to.
//
// The page talks to the API of the server it comes from, as any client does, and to no other host: its Content-Security-Policy allows nothing
// else, no script or style but its own files, and none within the page.
package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// all: takes dist/.gitignore along, so that there is something to embed where the page was not built.
//
//go:embed all:dist placeholder
var files embed.FS

// policy is the page's Content-Security-Policy.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; " +
	"form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

// Built says whether the page is in this program, rather than the placeholder.
func Built() bool {
	_, err := fs.Stat(files, "dist/index.html")
	return err == nil
}

// Handler returns a handler of the page, which answers / and what is below /assets/, and 404 otherwise.
func Handler() http.Handler { return newPage(folder()) }

// Over returns a handler that answers / and what is below /assets/ with the page, and leaves all else to next, also / where the method is neither
// GET nor HEAD.
func Over(next http.Handler) http.Handler {
	page := Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.URL.Path == "/" || strings.HasPrefix(r.URL.Path, "/assets/")) {
			page.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// folder is what is served.
func folder() fs.FS {
	name := "placeholder"
	if Built() {
		name = "dist"
	}
	sub, err := fs.Sub(files, name)
	if err != nil {
		panic(err) // both are embedded
	}
	return sub
}

// file is one that is served, in the forms that there are.
type file struct {
	kind string
	// forms are by their Content-Encoding; "" is the file itself.
	forms map[string]form
	// forever says that another content would have another name.
	forever bool
}

type form struct {
	content []byte
	etag    string
}

// page is a handler of files, by their paths.
type page map[string]file

// suffixes are those of the compressed forms of a file, the better first.
var suffixes = []struct{ encoding, suffix string }{{"br", ".br"}, {"gzip", ".gz"}}

func newPage(root fs.FS) page {
	p := page{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		base := path.Base(name)
		if err != nil || d.IsDir() || strings.HasPrefix(base, ".") || strings.HasSuffix(base, ".br") || strings.HasSuffix(base, ".gz") {
			return err
		}
		f := file{kind: mime.TypeByExtension(path.Ext(name)), forms: map[string]form{}, forever: strings.HasPrefix(name, "assets/")}
		if path.Ext(name) == ".js" { // some systems' tables say otherwise
			f.kind = "text/javascript; charset=utf-8"
		}
		for _, s := range append(suffixes, struct{ encoding, suffix string }{}) {
			content, err := fs.ReadFile(root, name+s.suffix)
			if err == nil {
				sum := sha256.Sum256(content)
				f.forms[s.encoding] = form{content, `"` + hex.EncodeToString(sum[:12]) + `"`}
			} else if s.encoding == "" {
				return err
			}
		}
		name = "/" + name
		if name == "/index.html" {
			name = "/"
		} else if !f.forever {
			name = "/assets" + name
		}
		p[name] = f
		return nil
	})
	if err != nil {
		panic(err) // the files are embedded
	}
	return p
}

// ServeHTTP implements [http.Handler].
func (p page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	f, ok := p[r.URL.Path]
	if !ok {
		http.Error(w, "there is no such part of the page", http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "the page is only read", http.StatusMethodNotAllowed)
		return
	}
	h.Set("Content-Type", f.kind)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Vary", "Accept-Encoding")
	if f.forever {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	encoding := choose(f, r.Header.Get("Accept-Encoding"))
	form := f.forms[encoding]
	h.Set("ETag", form.etag)
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	if known(r.Header.Get("If-None-Match"), form.etag) {
		h.Del("Content-Type")
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(form.content)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(form.content) // the client may be gone
	}
}
