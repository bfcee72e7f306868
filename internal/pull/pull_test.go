package pull

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"aim/internal/testmodel"
	"aim/models"
)

// quick are options for tests, with what is reported.
func quick(t *testing.T) (Options, *[]string) {
	t.Helper()
	var reports []string
	return Options{
		Dir: filepath.Join(t.TempDir(), "models"), Pause: time.Millisecond, Stall: 5 * time.Second,
		Report: func(text string) { reports = append(reports, text) },
	}, &reports
}

// holds makes sure that the folder has these files and no others.
func holds(t *testing.T, dir string, want map[string][]byte) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if want, ok := want[e.Name()]; !ok || err != nil || !bytes.Equal(content, want) {
			t.Errorf("%s is there, of %d bytes: %v", e.Name(), len(content), err)
		}
	}
	if len(entries) != len(want) {
		t.Errorf("%d files, want %d", len(entries), len(want))
	}
}

func TestURL(t *testing.T) {
	content := model(t, 1)
	s := serve(t, map[string][]byte{"/a/m.gguf": content, "/download": content})
	o, _ := quick(t)
	last, lastTotal := int64(0), int64(0)
	o.Progress = func(file string, done, total int64) {
		if file == "m.gguf" {
			if done < last {
				t.Errorf("progress from %d to %d", last, done)
			}
			last, lastTotal = done, total
		} else if file != "checking m.gguf" || total != int64(len(content)) {
			t.Errorf("progress of %s, of %d", file, total)
		}
	}
	o.SHA256 = strings.ToUpper(sum(content))
	r, err := Pull(t.Context(), s.URL+"/a/m.gguf?x=1", o)
	if err != nil || r.Name != "m" || r.Path != filepath.Join(o.Dir, "m.gguf") || r.Bytes != int64(len(content)) || r.Already || r.Files != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if last != r.Bytes || lastTotal != r.Bytes {
		t.Errorf("the progress ended at %d of %d", last, lastTotal)
	}
	holds(t, o.Dir, map[string][]byte{"m.gguf": content})
	if r, err := Pull(t.Context(), s.URL+"/a/m.gguf", o); err != nil || !r.Already {
		t.Errorf("once more: %+v, %v", r, err)
	}
	o.SHA256, o.Progress = "", nil
	if _, err := Pull(t.Context(), s.URL+"/download", o); err == nil || !strings.Contains(err.Error(), "--name") {
		t.Errorf("a source without a name: %v", err)
	}
	o.Name = "other"
	if _, err := Pull(t.Context(), s.URL+"/download", o); err != nil {
		t.Error(err)
	}
	holds(t, o.Dir, map[string][]byte{"m.gguf": content, "other.gguf": content})

	different := model(t, 2)
	s.set("/a/m.gguf", different[:len(different)-1])
	o.Name = ""
	if _, err := Pull(t.Context(), s.URL+"/a/m.gguf", o); !errors.Is(err, ErrExists) {
		t.Errorf("another model of the name: %v", err)
	}
	s.set("/a/m.gguf", different)
	o.Replace = true
	if _, err := Pull(t.Context(), s.URL+"/a/m.gguf", o); err != nil {
		t.Error(err)
	}
	holds(t, o.Dir, map[string][]byte{"m.gguf": different, "other.gguf": content})
}

// TestUnreliableServers holds that every kind of failure leads to the whole file, or to an error that says why and no model.
func TestUnreliableServers(t *testing.T) {
	content, changed := model(t, 1), model(t, 2)
	half := len(content) / 2
	for _, c := range []struct {
		name   string
		noETag bool
		before func(s *source, w http.ResponseWriter, r *http.Request, n int) bool
		sha256 string
		want   []byte
		// fails is part of the error, reports part of what is reported, ranges what is asked for.
		fails, reports string
		ranges         []string
	}{
		{
			name: "the connection is cut",
			before: func(s *source, w http.ResponseWriter, r *http.Request, n int) bool {
				if n <= 3 {
					s.cut(w, r, 1000)
				}
				return false
			},
			want: content, reports: "the connection was cut after 1000 bytes of", ranges: []string{"", "bytes=1000-", "bytes=2000-", "bytes=3000-"},
		},
		{
			name: "cut, and nothing to tell a changed file by", noETag: true,
			before: func(s *source, w http.ResponseWriter, r *http.Request, n int) bool {
				if n == 1 {
					s.cut(w, r, 1000)
				}
				return false
			},
			want: content, ranges: []string{"", ""},
		},
		{
			name: "cut, and only the checksum to tell a changed file by", noETag: true, sha256: sum(content),
			before: func(s *source, w http.ResponseWriter, r *http.Request, n int) bool {
				if n == 1 {
					s.cut(w, r, 1000)
				}
				return false
			},
			want: content, ranges: []string{"", "bytes=1000-"},
		},
		{
			name: "always cut at once",
			before: func(s *source, w http.ResponseWriter, r *http.Request, _ int) bool {
				s.cut(w, r, 0)
				return true
			},
			fails: "given up after 6 tries: the connection was cut after 0 bytes",
		},
		{
			name: "the file changes",
			before: func(s *source, w http.ResponseWriter, r *http.Request, n int) bool {
				if n == 1 {
					defer s.set(r.URL.Path, changed)
					s.cut(w, r, half)
				}
				return false
			},
			want: changed, reports: "has changed",
		},
		{
			name: "the file changes, and the server does not look at If-Range",
			before: func(s *source, w http.ResponseWriter, r *http.Request, n int) bool {
				if n == 1 {
					defer s.set(r.URL.Path, changed)
					s.cut(w, r, half)
				}
				r.Header.Del("If-Range")
				return false
			},
			want: changed, reports: "has changed",
		},
		{
			name: "the file changes, and nothing but the checksum tells", noETag: true, sha256: sum(changed),
			before: func(s *source, w http.ResponseWriter, r *http.Request, n int) bool {
				if n == 1 {
					defer s.set(r.URL.Path, changed)
					s.cut(w, r, half)
				}
				return false
			},
			want: changed, reports: "SHA-256",
		},
		{
			name: "the file changes all the time",
			before: func(s *source, w http.ResponseWriter, r *http.Request, n int) bool {
				s.set(r.URL.Path, model(t, uint64(n)))
				s.cut(w, r, half)
				return true
			},
			fails: "changed 4 times",
		},
		{
			name: "ranges are ignored",
			before: func(s *source, w http.ResponseWriter, r *http.Request, n int) bool {
				if n == 1 {
					s.cut(w, r, half)
				}
				r.Header.Del("Range")
				return false
			},
			want: content, reports: "sends all of it again",
		},
		{
			name: "ranges are ignored, and each connection is cut",
			before: func(s *source, w http.ResponseWriter, r *http.Request, _ int) bool {
				r.Header.Del("Range")
				s.cut(w, r, half)
				return true
			},
			fails: "given up after 6 tries",
		},
		{
			name: "another range",
			before: func(s *source, w http.ResponseWriter, r *http.Request, n int) bool {
				if n == 1 {
					s.cut(w, r, half)
				}
				r.Header.Set("Range", "bytes=10-")
				return false
			},
			fails: `where the rest from byte`,
		},
		{
			name: "a size that is too large",
			before: func(_ *source, w http.ResponseWriter, r *http.Request, _ int) bool {
				w.Header().Set("Content-Length", "1000000")
				_, _ = w.Write(content)
				panic(http.ErrAbortHandler)
			},
			fails: "given up",
		},
		{
			name: "a size that is too small",
			before: func(_ *source, w http.ResponseWriter, r *http.Request, _ int) bool {
				w.Header().Set("Content-Length", "10000")
				_, _ = w.Write(content[:10000])
				return true
			},
			fails: "no model: tensor data needs",
		},
		{
			name: "without a size",
			before: func(_ *source, w http.ResponseWriter, r *http.Request, _ int) bool {
				_, _ = w.Write(content[:half])
				_ = http.NewResponseController(w).Flush()
				_, _ = w.Write(content[half:])
				return true
			},
			want: content,
		},
		{
			name: "nothing",
			before: func(_ *source, w http.ResponseWriter, _ *http.Request, _ int) bool {
				w.WriteHeader(http.StatusOK)
				return true
			},
			fails: "the file is empty",
		},
		{
			name: "a page in place of the file",
			before: func(_ *source, w http.ResponseWriter, _ *http.Request, _ int) bool {
				_, _ = w.Write([]byte("<html>log in first</html>"))
				return true
			},
			fails: "invalid GGUF format",
		},
		{
			name: "busy",
			before: func(_ *source, w http.ResponseWriter, _ *http.Request, n int) bool {
				if n <= 3 {
					w.WriteHeader([]int{429, 500, 503}[n-1])
				}
				return n <= 3
			},
			want: content, reports: "the server wants fewer requests (status 429)",
		},
		{
			name:   "down",
			before: func(_ *source, w http.ResponseWriter, _ *http.Request, _ int) bool { w.WriteHeader(502); return true },
			fails:  "given up after 6 tries: the server answers (status 502)",
		},
		{
			name:   "a wrong checksum",
			sha256: sum(changed), fails: "has the SHA-256 " + sum(content) + ", want " + sum(changed),
		},
		{
			name: "packed",
			before: func(_ *source, w http.ResponseWriter, _ *http.Request, _ int) bool {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write(content)
				return true
			},
			fails: `packs the file as "gzip"`,
		},
		{
			name: "an endless redirect",
			before: func(_ *source, w http.ResponseWriter, r *http.Request, _ int) bool {
				http.Redirect(w, r, r.URL.Path, http.StatusFound)
				return true
			},
			fails: "more than 10 redirects",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, map[string][]byte{"/m.gguf": content})
			s.etag = !c.noETag
			if c.before != nil {
				s.before = func(w http.ResponseWriter, r *http.Request, n int) bool { return c.before(s, w, r, n) }
			}
			o, reports := quick(t)
			o.SHA256 = c.sha256
			_, err := Pull(t.Context(), s.URL+"/m.gguf", o)
			if c.fails == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("got %v, want %q", err, c.fails)
			}
			if all := strings.Join(*reports, "\n"); !strings.Contains(all, c.reports) {
				t.Errorf("reported\n%s\nwant %q", all, c.reports)
			}
			if c.ranges != nil && !slices.Equal(s.ranges(), c.ranges) {
				t.Errorf("asked for %q, want %q", s.ranges(), c.ranges)
			}
			if c.want != nil {
				holds(t, o.Dir, map[string][]byte{"m.gguf": c.want})
			} else if found, err := models.Files(o.Dir); len(found) > 0 || err != nil {
				t.Errorf("%q are there, %v", found, err)
			}
		})
	}
}

func TestStalls(t *testing.T) {
	content := model(t, 1)
	s := serve(t, map[string][]byte{"/m.gguf": content})
	over := make(chan struct{})
	defer close(over)
	s.before = func(w http.ResponseWriter, r *http.Request, n int) bool {
		switch n {
		case 1: // before the header
		case 2: // after some bytes
			w.Header().Set("ETag", `"`+sum(content)[:16]+`"`)
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(content[:1000])
			_ = http.NewResponseController(w).Flush()
		default:
			return false
		}
		select {
		case <-r.Context().Done():
		case <-over:
		}
		return true
	}
	o, reports := quick(t)
	o.Stall = 100 * time.Millisecond
	if _, err := Pull(t.Context(), s.URL+"/m.gguf", o); err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(*reports, "\n"); strings.Count(all, ErrStalled.Error()) != 2 {
		t.Errorf("reported\n%s", all)
	}
	holds(t, o.Dir, map[string][]byte{"m.gguf": content})
}

// TestInterrupted holds that a run that is stopped leaves what the next one goes on with, but not for another URL.
func TestInterrupted(t *testing.T) {
	content := model(t, 1)
	s := serve(t, map[string][]byte{"/m.gguf": content, "/elsewhere/m.gguf": content})
	o, _ := quick(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.before = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n > 1 {
			return false
		}
		w.Header().Set("ETag", `"`+sum(content)[:16]+`"`)
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write(content[:1000])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	}
	o.Progress = func(_ string, done, _ int64) {
		if done == 1000 {
			cancel()
		}
	}
	if _, err := Pull(ctx, s.URL+"/m.gguf", o); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if found, _ := models.Files(o.Dir); len(found) != 0 {
		t.Errorf("%q are there", found)
	}
	part, err := os.ReadFile(filepath.Join(o.Dir, "m.gguf.part"))
	if err != nil || len(part) != 1000 {
		t.Fatalf("%d bytes are left, %v", len(part), err)
	}
	// The size of the record is a lie of the test's, so it is another file now.
	o.Progress = nil
	if _, err := Pull(t.Context(), s.URL+"/m.gguf", o); err != nil {
		t.Fatal(err)
	}
	holds(t, o.Dir, map[string][]byte{"m.gguf": content})

	write := func(url string) {
		t.Helper()
		for name, text := range map[string]string{
			"n.gguf.part":      string(content[:2000]),
			"n.gguf.part.json": `{"url":"` + url + `","etag":"\"` + sum(content)[:16] + `\""}`,
		} {
			if err := os.WriteFile(filepath.Join(o.Dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.Name = "n"
	for url, want := range map[string]string{s.URL + "/m.gguf": "bytes=2000-", s.URL + "/gone": ""} {
		write(url)
		if _, err := Pull(t.Context(), s.URL+"/m.gguf", o); err != nil {
			t.Fatal(err)
		}
		if got := s.ranges(); got[len(got)-1] != want {
			t.Errorf("a part of %s: asked for %q, want %q", url, got, want)
		}
		if err := os.Remove(filepath.Join(o.Dir, "n.gguf")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamagedPart holds that a part which was damaged on the disk is found out, and fetched anew.
func TestDamagedPart(t *testing.T) {
	content := model(t, 1)
	s, _ := hub(t, map[string][]byte{"m.gguf": content})
	o, reports := quick(t)
	o.Endpoint = s.URL
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"m.gguf.part":      strings.Repeat("x", 1000),
		"m.gguf.part.json": `{"url":"` + s.URL + `/o/r/resolve/main/m.gguf","sha256":"` + sum(content) + `"}`,
	} {
		if err := os.WriteFile(filepath.Join(o.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Pull(t.Context(), "hf:o/r/m.gguf", o); err != nil || !strings.Contains(strings.Join(*reports, "\n"), "fetched anew") {
		t.Errorf("%v, reported %q", err, *reports)
	}
	holds(t, o.Dir, map[string][]byte{"m.gguf": content})
}

func TestOneAtATime(t *testing.T) {
	content := model(t, 1)
	s := serve(t, map[string][]byte{"/m.gguf": content})
	o, _ := quick(t)
	var second error
	s.before = func(http.ResponseWriter, *http.Request, int) bool {
		if second == nil {
			_, second = Pull(context.Background(), s.URL+"/m.gguf", Options{Dir: o.Dir})
		}
		return false
	}
	if _, err := Pull(t.Context(), s.URL+"/m.gguf", o); err != nil || !errors.Is(second, ErrBusy) {
		t.Errorf("first %v, second %v", err, second)
	}
	holds(t, o.Dir, map[string][]byte{"m.gguf": content})
}

func TestNoRoom(t *testing.T) {
	defer func(f func(string) (int64, error)) { freeSpace = f }(freeSpace)
	freeSpace = func(string) (int64, error) { return 1000, nil }
	content := model(t, 1)
	s := serve(t, map[string][]byte{"/m.gguf": content})
	file := testmodel.TinyLlama(1).Write(t)
	for _, source := range []string{s.URL + "/m.gguf", file} {
		o, _ := quick(t)
		o.Name = "m"
		if _, err := Pull(t.Context(), source, o); err == nil || !strings.Contains(err.Error(), "which has 1000 free") {
			t.Errorf("%s: %v", source, err)
		}
		if found, _ := models.Files(o.Dir); len(found) > 0 {
			t.Errorf("%q are there", found)
		}
	}
	freeSpace = func(string) (int64, error) { return math.MaxInt64, nil }
}

func TestNames(t *testing.T) {
	for _, bad := range []string{
		"", ".", "..", ".hidden", "a/b", `a\b`, "../x", "C:x", "a\x00b", "a\nb", " a", "a ", "x-00001-of-00002", strings.Repeat("x", 201), "a*", "\u202egpj",
	} {
		if err := CheckName(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
	for _, good := range []string{"a", "SmolLM2-135M-Instruct.Q4_1", "naïve (2)", "a.b-00001"} {
		if err := CheckName(good); err != nil {
			t.Error(err)
		}
	}
	o, _ := quick(t)
	for source, want := range map[string]string{
		"http://127.0.0.1:1/a%3ax.gguf":            "a character",
		"http://127.0.0.1:1/..%5cx.gguf":           "begins with a dot",
		"http://127.0.0.1:1/a-00001-of-99999.gguf": "want 1 to 1000",
		"ftp://127.0.0.1/x.gguf":                   "ftp:// is not known",
		"http:///x.gguf":                           "no host",
		"hf:o":                                     "want hf:owner/repo",
		"hf:o/r":                                   "aim pull hf:owner/repo lists",
		"hf:o/r/../../x.gguf":                      "is not the path",
		"hf:o/r/x.bin":                             "is not the path",
		"hf:../r/x.gguf":                           "want hf:owner/repo",
		"gone.gguf":                                "no such file",
		".":                                        "not a regular file",
	} {
		if _, err := Pull(t.Context(), source, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", source, err, want)
		}
	}
	o.SHA256 = "12"
	if _, err := Pull(t.Context(), "x.gguf", o); err == nil || !strings.Contains(err.Error(), "64 hexadecimal") {
		t.Errorf("got %v", err)
	}
	holds(t, o.Dir, nil)
}

// FuzzSource holds that no source and no name leads out of the models folder, or to a hidden file there.
func FuzzSource(f *testing.F) {
	for _, s := range []string{
		"https://h/a/m.gguf", "http://h/%2e%2e%2fm.gguf", "hf:o/r/a/../m.gguf", "hf:o/r/a-00001-of-00002.gguf", "hf:o/r/.gguf", "https://h/..gguf", "hf:o/r:Q4",
	} {
		f.Add(s, "")
		f.Add(s, "../x")
	}
	f.Fuzz(func(t *testing.T, source, name string) {
		o := Options{Name: name, Endpoint: "http://127.0.0.1:1"}
		o.defaults()
		if _, ok := strings.CutPrefix(source, "hf:"); !ok && !strings.Contains(source, "://") || strings.Contains(source[3:], ":") && ok {
			return // a file here, or a list to be asked for
		}
		p, err := o.plan(t.Context(), source)
		if err != nil {
			return
		}
		names, err := p.fileNames(name)
		if err != nil {
			return
		}
		for _, n := range names {
			if n != filepath.Base(n) || !filepath.IsLocal(n) || strings.HasPrefix(n, ".") || models.Name(n) == n || models.Name(n) != models.Name(names[0]) {
				t.Errorf("%q as %q becomes %q", source, name, n)
			}
		}
		for _, part := range p.parts {
			if strings.HasPrefix(source, "hf:") && !strings.HasPrefix(part.url, o.Endpoint+"/") {
				t.Errorf("%q leads to %s", source, part.url)
			}
		}
	})
}

func TestLocal(t *testing.T) {
	file := testmodel.TinyLlama(1).Write(t)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := quick(t)
	for _, link := range []bool{false, true} {
		o.Name, o.Link = map[bool]string{false: "copied", true: "linked"}[link], link
		for _, already := range []bool{false, true} {
			r, err := Pull(t.Context(), file, o)
			if err != nil || r.Already != already {
				t.Fatalf("%+v, %v", r, err)
			}
			a, _ := os.Stat(file)
			if b, err := os.Stat(r.Path); err != nil || os.SameFile(a, b) != link {
				t.Errorf("link %v: %v", link, err)
			}
		}
	}
	o.Link, o.Name = false, "broken"
	o.SHA256 = strings.Repeat("0", 64)
	var wrong *ChecksumError
	if _, err := Pull(t.Context(), file, o); !errors.As(err, &wrong) {
		t.Errorf("got %v", err)
	}
	o.SHA256 = ""
	cut := filepath.Join(t.TempDir(), "cut.gguf")
	if err := os.WriteFile(cut, content[:len(content)-100], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Pull(t.Context(), cut, o); err == nil || !strings.Contains(err.Error(), "no model") {
		t.Errorf("got %v", err)
	}
	o.Name = "copied"
	if _, err := Pull(t.Context(), testmodel.TinyLlama(2).Write(t), o); !errors.Is(err, ErrExists) {
		t.Errorf("got %v", err)
	}
	holds(t, o.Dir, map[string][]byte{"copied.gguf": content, "linked.gguf": content})
}
