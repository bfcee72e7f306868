package pull

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"aim/internal/testmodel"
)

// model is a GGUF file of a tiny model, of some hundred kB.
func model(t testing.TB, seed uint64) []byte {
	t.Helper()
	content, err := os.ReadFile(testmodel.TinyLlama(seed).Write(t))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func sum(content []byte) string {
	s := sha256.Sum256(content)
	return hex.EncodeToString(s[:])
}

// source is a server that serves files well, but for what before does.
type source struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
	// etag makes it tell an ETag.
	etag bool
	// before may answer the n-th request, from 1, in its own way, and then returns true.
	before func(w http.ResponseWriter, r *http.Request, n int) bool
	// requests are those that came.
	requests []*http.Request
}

func serve(t *testing.T, files map[string][]byte) *source {
	t.Helper()
	s := &source{files: files, etag: true}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *source) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	n := len(s.requests)
	content, ok := s.files[r.URL.Path]
	s.mu.Unlock()
	if s.before != nil && s.before(w, r, n) {
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	if s.etag {
		w.Header().Set("ETag", `"`+sum(content)[:16]+`"`)
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(content)))
}

func (s *source) set(at string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[at] = content
}

// ranges are what each request asked for.
func (s *source) ranges() (ranges []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		ranges = append(ranges, r.Header.Get("Range"))
	}
	return ranges
}

// cut sends the first n bytes of what s would send, and cuts the connection.
func (s *source) cut(w http.ResponseWriter, r *http.Request, n int) {
	s.mu.Lock()
	content := s.files[r.URL.Path]
	s.mu.Unlock()
	from := 0
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
	}
	if s.etag {
		w.Header().Set("ETag", `"`+sum(content)[:16]+`"`)
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(content)-from))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	_, _ = w.Write(content[from:min(from+n, len(content))])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// hub makes s a hub of one repository, o/r, whose files lie on another server, which gets no token.
func hub(t *testing.T, files map[string][]byte) (s, store *source) {
	t.Helper()
	store = serve(t, map[string][]byte{})
	s = serve(t, map[string][]byte{})
	type lfs struct {
		OID  string `json:"oid"`
		Size int    `json:"size"`
	}
	type file struct {
		Type string `json:"type"`
		Path string `json:"path"`
		Size int    `json:"size"`
		LFS  *lfs   `json:"lfs,omitempty"`
	}
	tree := []file{{Type: "directory", Path: "sub"}, {Type: "file", Path: "README.md", Size: 3}}
	for name, content := range files {
		store.files["/cdn/"+sum(content)] = content
		tree = append(tree, file{"file", name, len(content), &lfs{sum(content), len(content)}})
	}
	s.before = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		w.Header().Set("X-Repo-Commit", strings.Repeat("c", 40))
		if r.URL.Path == "/api/models/o/r/tree/main" {
			half := tree[:len(tree)/2] // in two pages
			if r.URL.Query().Get("cursor") == "" {
				w.Header().Set("Link", `<`+s.URL+r.URL.Path+`?cursor=x>; rel="next"`)
			} else {
				half = tree[len(tree)/2:]
			}
			_ = json.NewEncoder(w).Encode(half)
			return true
		}
		for _, revision := range []string{"main", strings.Repeat("c", 40)} {
			name, ok := strings.CutPrefix(r.URL.Path, "/o/r/resolve/"+revision+"/")
			if content, there := files[name]; ok && there {
				w.Header().Set("X-Linked-Size", fmt.Sprint(len(content)))
				w.Header().Set("X-Linked-ETag", `"`+sum(content)+`"`)
				http.Redirect(w, r, store.URL+path.Join("/cdn", sum(content)), http.StatusFound)
				return true
			}
		}
		w.Header().Set("X-Error-Code", "EntryNotFound")
		http.Error(w, "no", http.StatusNotFound)
		return true
	}
	return s, store
}
