package pull

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aim/internal/testmodel"
	"aim/models"
)

const token = "hf_secret"

// TestHub holds that a file of a hub is fetched from where the hub sends its callers, and that the token is for the hub alone.
func TestHub(t *testing.T) {
	content := model(t, 1)
	s, store := hub(t, map[string][]byte{"sub/tiny-Q4_K_M.gguf": content, "tiny-Q8_0.gguf": model(t, 2), "mmproj-tiny-Q4_K_M.gguf": {1}})
	for _, from := range []string{"hf:o/r/sub/tiny-Q4_K_M.gguf", "hf:o/r:q4_k_m"} {
		o, _ := quick(t)
		o.Endpoint, o.Token = s.URL+"/", token
		if _, err := Pull(t.Context(), from, o); err != nil {
			t.Fatal(err)
		}
		holds(t, o.Dir, map[string][]byte{"tiny-Q4_K_M.gguf": content})
		if r, err := Pull(t.Context(), from, o); err != nil || !r.Already {
			t.Errorf("once more: %+v, %v", r, err)
		}
	}
	for _, r := range s.requests {
		if got := r.Header.Get("Authorization"); got != "Bearer "+token {
			t.Errorf("the hub gets %q for %s", got, r.URL)
		}
	}
	if len(store.requests) == 0 {
		t.Error("nobody was redirected")
	}
	for _, r := range store.requests {
		for name, values := range r.Header {
			if strings.Contains(strings.Join(values, " "), token) || name == "Authorization" {
				t.Errorf("the other host gets %s: %q", name, values)
			}
		}
	}
	o, _ := quick(t)
	o.Endpoint = s.URL
	o.SHA256 = strings.Repeat("0", 64)
	before := len(store.ranges())
	var wrong *ChecksumError
	if _, err := Pull(t.Context(), "hf:o/r/tiny-Q8_0.gguf", o); !errors.As(err, &wrong) || wrong.Got != sum(model(t, 2)) || len(store.ranges()) != before+1 {
		t.Errorf("a checksum that the hub denies: %v", err)
	}
	o.SHA256 = ""
	for from, want := range map[string]string{
		"hf:o/r:Q2_K":             `no model there is quantized as "Q2_K"; there are tiny-Q4_K_M, tiny-Q8_0`,
		"hf:o/r/gone.gguf":        "aim pull hf:owner/repo lists",
		"hf:o/r2:Q4_K_M":          "status 404",
		s.URL + "/elsewhere.gguf": "status 404",
	} {
		if _, err := Pull(t.Context(), from, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", from, err, want)
		}
	}
	list, err := List(t.Context(), "hf:o/r", o)
	if err != nil || len(list) != 2 || list[0].Source != "hf:o/r/sub/tiny-Q4_K_M.gguf" || list[0].Bytes != int64(len(content)) || list[1].Name != "tiny-Q8_0" {
		t.Errorf("%+v, %v", list, err)
	}
	if !Repository("hf:o/r") || Repository("hf:o/r:Q8_0") || Repository("hf:o/r/x.gguf") || Repository("o/r") {
		t.Error("what a repository is")
	}
}

// TestTokenAndURLs holds that the token does not go to plain URLs, nor does what is secret in one show in errors.
func TestTokenAndURLs(t *testing.T) {
	s := serve(t, map[string][]byte{"/m.gguf": model(t, 1)})
	o, reports := quick(t)
	o.Token = token
	if _, err := Pull(t.Context(), s.URL+"/m.gguf", o); err != nil {
		t.Fatal(err)
	}
	if got := s.requests[0].Header.Get("Authorization"); got != "" {
		t.Errorf("a server gets %q", got)
	}
	s.Close()
	o.Name, o.Tries = "n", 2
	_, err := Pull(t.Context(), strings.Replace(s.URL, "http://", "http://user:hunter2@", 1)+"/m.gguf?signature=hunter3", o)
	if err == nil {
		t.Fatal("a closed server answers")
	}
	for _, text := range append(*reports, err.Error()) {
		if strings.Contains(text, "hunter") || strings.Contains(text, token) {
			t.Errorf("%q tells a secret", text)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := serve(t, nil)
	for _, c := range []struct {
		status      int
		code, token string
		want        string
	}{
		{401, "GatedRepo", "", "gated: accept its terms on its page at " + s.URL + "; set HF_TOKEN"},
		{403, "GatedRepo", token, "HF_TOKEN does not let you read it"},
		{401, "RepoNotFound", "", "no such repository, or it is private: set HF_TOKEN"},
		{403, "", "", "access is refused"},
		{404, "RevisionNotFound", "", `no revision "main"`},
		{404, "EntryNotFound", "", "no such file"},
		{418, "", "", "(status 418: a teapot)"},
	} {
		s.before = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
			w.Header().Set("X-Error-Code", c.code)
			w.Header().Set("X-Error-Message", "a \u202eteapot")
			w.WriteHeader(c.status)
			return true
		}
		o, _ := quick(t)
		o.Endpoint, o.Token = s.URL, c.token
		before := len(s.requests)
		_, err := Pull(t.Context(), "hf:o/r/m.gguf", o)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), token) {
			t.Errorf("%d %s: %v, want %q", c.status, c.code, err, c.want)
		}
		if n := len(s.requests) - before; n != 1 {
			t.Errorf("%d %s: asked %d times", c.status, c.code, n)
		}
	}
}

// TestSizesDisagree holds that a hub and the server it sends its callers to must tell of the same file.
func TestSizesDisagree(t *testing.T) {
	content := model(t, 1)
	s, store := hub(t, map[string][]byte{"m.gguf": content})
	store.set("/cdn/"+sum(content), content[:1000])
	o, _ := quick(t)
	o.Endpoint = s.URL
	if _, err := Pull(t.Context(), "hf:o/r/m.gguf", o); err == nil || !strings.Contains(err.Error(), "the server that sends it says 1000") {
		t.Errorf("got %v", err)
	}
	store.before = func(w http.ResponseWriter, _ *http.Request, _ int) bool { // without a size, and more than the hub says
		_, _ = w.Write(content)
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write([]byte("more"))
		return true
	}
	if _, err := Pull(t.Context(), "hf:o/r/m.gguf", o); err == nil || !strings.Contains(err.Error(), "sends more than the") {
		t.Errorf("got %v", err)
	}
	store.before = nil
	other := bytes.Clone(content)
	other[len(other)-1] ^= 1
	store.set("/cdn/"+sum(content), other)
	if _, err := Pull(t.Context(), "hf:o/r/m.gguf", o); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("got %v", err)
	}
	if found, _ := models.Files(o.Dir); len(found) > 0 {
		t.Errorf("%q are there", found)
	}
}

// TestSplit holds that all parts of a model come, from one commit, and appear only together.
func TestSplit(t *testing.T) {
	parts := split(t)
	files := map[string][]byte{"x/big-00001-of-00002.gguf": parts[0], "x/big-00002-of-00002.gguf": parts[1]}
	s, store := hub(t, files)
	o, _ := quick(t)
	o.Endpoint, o.Name = s.URL, "mine"
	store.before = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if strings.HasSuffix(r.URL.Path, sum(parts[1])) {
			if found, _ := models.Files(o.Dir); len(found) > 0 {
				t.Errorf("%q are there too early", found)
			}
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}
	if _, err := Pull(t.Context(), "hf:o/r/x/big-00002-of-00002.gguf", o); err == nil {
		t.Fatal("half a model is fetched")
	}
	if found, _ := models.Files(o.Dir); len(found) > 0 {
		t.Errorf("%q are there", found)
	}
	store.before = nil
	before := len(s.requests)
	r, err := Pull(t.Context(), "hf:o/r/x/big-00001-of-00002.gguf", o)
	if err != nil || r.Files != 2 || r.Name != "mine" || r.Bytes != int64(len(parts[0])+len(parts[1])) {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := s.requests[before:]; len(got) != 1 || !strings.Contains(got[0].URL.Path, "/resolve/"+strings.Repeat("c", 40)+"/") {
		t.Errorf("the second run asks for %d files, %s", len(got), got[0].URL)
	}
	holds(t, o.Dir, map[string][]byte{"mine-00001-of-00002.gguf": parts[0], "mine-00002-of-00002.gguf": parts[1]})

	// A local one, whose second part is missing, then not.
	folder := t.TempDir()
	first := filepath.Join(folder, "big-00001-of-00002.gguf")
	_ = os.WriteFile(first, parts[0], 0o600)
	o.Name = "local"
	if _, err := Pull(t.Context(), first, o); err == nil || !strings.Contains(err.Error(), "big-00002-of-00002.gguf") {
		t.Errorf("got %v", err)
	}
	_ = os.WriteFile(filepath.Join(folder, "big-00002-of-00002.gguf"), parts[1], 0o600)
	if r, err := Pull(t.Context(), first, o); err != nil || r.Files != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	o.Name = "mine"
	if _, err := Pull(t.Context(), testmodel.TinyLlama(1).Write(t), o); err == nil || !strings.Contains(err.Error(), "another model of this name") {
		t.Errorf("a model in one file beside one in two: %v", err)
	}
}

// split are the two files of a split tiny model.
func split(t *testing.T) (parts [2][]byte) {
	t.Helper()
	whole := testmodel.TinyLlama(1)
	for i := range parts {
		g := testmodel.NewGGUF("llama", 1)
		if i == 0 {
			for k, v := range whole.Values {
				g.Values[k] = v
			}
		}
		half := len(whole.Tensors) / 2
		g.Tensors = [][]testmodel.Tensor{whole.Tensors[:half], whole.Tensors[half:]}[i]
		content, err := os.ReadFile(g.Write(t))
		if err != nil {
			t.Fatal(err)
		}
		parts[i] = content
	}
	return parts
}

// TestRealModel fetches the real model over a connection that is cut again and again.
func TestRealModel(t *testing.T) {
	content, err := os.ReadFile(testmodel.Path(t))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, map[string][]byte{"/real.gguf": content})
	s.before = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n <= 3 {
			s.cut(w, r, 20<<20+n)
		}
		return false
	}
	o, _ := quick(t)
	o.SHA256 = sum(content)
	r, err := Pull(t.Context(), s.URL+"/real.gguf", o)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := models.Read(r.Path)
	want, err2 := models.Read(testmodel.Path(t))
	if err != nil || err2 != nil || facts != want {
		t.Errorf("%+v, %v; want %+v, %v", facts, err, want, err2)
	}
	if n := len(s.ranges()); n != 4 {
		t.Errorf("%d requests: %q", n, s.ranges())
	}
}
