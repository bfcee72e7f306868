// Package pull fetches models into the models folder: from a hub of Hugging Face's kind, from any URL, or from a file. A model appears
// under its name when it is whole, its checksum is right where one is known, and its header can be read; never before. What was fetched
// when a run ended early is gone on with, unless the file at the source is no longer the same.
package pull

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"aim/models"
)

// DefaultEndpoint is the hub that is asked where HF_ENDPOINT names no other.
const DefaultEndpoint = "https://huggingface.co"

// Options say where a model goes, and how it is fetched. The zero value of all but Dir works.
type Options struct {
	// Dir is the models folder, which is made where it does not exist.
	Dir string
	// Name is the model's, by default that of its file.
	Name string
	// SHA256 is the checksum of a source of one file, in hexadecimal; "" is the one that the hub tells, if it does.
	SHA256 string
	// Revision is a branch, tag or commit of a repository; "" is main.
	Revision string
	// Endpoint is the address of the hub, and Token what it lets the caller in by. No other host gets to see it.
	Endpoint, Token string
	// Link makes hard links of local files, in place of copies.
	Link bool
	// Replace takes the place of another model of that name, which otherwise is an error.
	Replace bool
	// Client asks; its timeouts are for single connections. Redirects are followed in our own way.
	Client *http.Client
	// Progress is told how many bytes of a file there are, and how many there will be, 0 where nobody knows, and then, with "checking "
	// before its name, how many were compared; Report what a person should know meanwhile. Pull calls both, one at a time.
	Progress func(file string, done, total int64)
	Report   func(text string)
	// Stall is how long a server may send nothing, by default 30 s; Pause the time before the second try, which doubles with each
	// further one, by default 1 s; Tries how many in a row may bring nothing, by default 6.
	Stall, Pause time.Duration
	Tries        int
}

func (o *Options) defaults() {
	if o.Endpoint == "" {
		o.Endpoint = DefaultEndpoint
	}
	o.Endpoint = strings.TrimRight(o.Endpoint, "/")
	if o.Revision == "" {
		o.Revision = "main"
	}
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	if o.Report == nil {
		o.Report = func(string) {}
	}
	if o.Stall <= 0 {
		o.Stall = 30 * time.Second
	}
	if o.Pause <= 0 {
		o.Pause = time.Second
	}
	if o.Tries <= 0 {
		o.Tries = 6
	}
	o.SHA256 = strings.ToLower(o.SHA256)
}

// Result is a model that is there.
type Result struct {
	// Name is the model's, Path its file, or the first of several.
	Name, Path string
	// Files are how many, Bytes their size.
	Files int
	Bytes int64
	// Already says that it was there before.
	Already bool
}

// ErrBusy says that another process fetches the same model.
var ErrBusy = errors.New("another aim pull fetches this model")

// ErrExists says that there is another model of the name.
var ErrExists = errors.New("there is another model of this name")

// ChecksumError says that a file is not what it should be.
type ChecksumError struct{ File, Want, Got string }

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("%s has the SHA-256 %s, want %s", e.File, e.Got, e.Want)
}

// Pull fetches a model: source is hf:owner/repo/file.gguf, hf:owner/repo:Q4_K_M, an http or https URL, or a path of this machine. Of a
// model in several files, one names all. It fails with [ErrBusy], [ErrExists], a [ChecksumError], a [StatusError], or the error of ctx,
// and then leaves the models folder as it was, but for what can be gone on with.
func Pull(ctx context.Context, source string, o Options) (*Result, error) {
	o.defaults()
	if o.SHA256 != "" && !hex64.MatchString(o.SHA256) {
		return nil, fmt.Errorf("SHA-256 %q: want 64 hexadecimal digits", o.SHA256)
	}
	p, err := o.plan(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	if o.SHA256 != "" && len(p.parts) > 1 {
		return nil, fmt.Errorf("SHA-256 is of one file, and the model has %d", len(p.parts))
	}
	names, err := p.fileNames(o.Name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := o.sameName(names); err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(o.Dir, "."+models.Name(names[0])+".pull.lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	var paths []string
	for _, n := range names {
		paths = append(paths, filepath.Join(o.Dir, n))
	}
	return o.pull(ctx, p, paths)
}

// sameName refuses to make a second model of one name, in other files.
func (o *Options) sameName(names []string) error {
	there, err := models.Files(o.Dir)
	if err != nil {
		return err
	}
	for _, path := range there {
		if file := filepath.Base(path); strings.EqualFold(models.Name(file), models.Name(names[0])) && !slices.Contains(names, file) {
			return fmt.Errorf("%w, %s: delete it, or choose another name", ErrExists, path)
		}
	}
	return nil
}

// plan reads a source.
func (o *Options) plan(ctx context.Context, source string) (*plan, error) {
	scheme, _, ok := strings.Cut(source, "://")
	switch {
	case strings.HasPrefix(source, hubPrefix):
		return o.onHub(ctx, strings.TrimPrefix(source, hubPrefix))
	case !ok:
		return local(source)
	case scheme == "http" || scheme == "https":
		return remote(source)
	}
	return nil, fmt.Errorf("%s:// is not known; want hf:owner/repo/file.gguf, an http or https URL, or a file", scheme)
}

// pull fetches the parts of a model, makes sure of them, and puts them into place.
func (o *Options) pull(ctx context.Context, p *plan, paths []string) (*Result, error) {
	r := &Result{Name: models.Name(paths[0]), Path: paths[0], Files: len(paths), Already: true}
	have := make([]bool, len(paths))
	if err := o.roomForAll(p, paths); err != nil {
		return nil, err
	}
	for i := range p.parts {
		already, err := o.fetch(ctx, &p.parts[i], paths[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.parts[i].file, err)
		}
		have[i] = already
		r.Already = r.Already && already
		if i == 0 {
			p.pin(o)
		}
	}
	if !r.Already {
		if err := check(paths, have); err != nil {
			return nil, err
		}
		if err := place(paths, have); err != nil {
			return nil, err
		}
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		r.Bytes += info.Size()
	}
	return r, nil
}

// roomForAll makes sure, as far as the sizes are known, that what is missing of all files fits the disk.
func (o *Options) roomForAll(p *plan, paths []string) error {
	if o.Link {
		return nil
	}
	missing := int64(0)
	for i, path := range paths {
		if _, err := os.Stat(path); err == nil && !o.Replace {
			continue
		}
		missing += p.parts[i].size
		if info, err := os.Stat(path + partSuffix); err == nil && p.parts[i].size > 0 {
			missing -= min(info.Size(), p.parts[i].size)
		}
	}
	return o.room("the model", missing)
}

// pin takes further parts from the commit that the first came from, so that a push between the two does not mix them.
func (p *plan) pin(o *Options) {
	commit := p.parts[0].commit
	if p.repo == "" || commit == "" {
		return
	}
	for i := range p.parts[1:] {
		p.parts[i+1].url = o.resolve(p.repo, commit, p.parts[i+1].file)
	}
}

// fetch brings one file to the side of where it is to be, or finds that it is there already.
func (o *Options) fetch(ctx context.Context, part *part, path string) (already bool, err error) {
	if part.local != "" {
		return o.fetchLocal(ctx, part, path)
	}
	d := &download{o: o, part: part, path: path}
	if already, err := o.there(ctx, d); already || err != nil {
		return already, err
	}
	if err := d.open(); err != nil {
		return false, err
	}
	defer d.f.Close()
	for again := false; ; again = true {
		if err := d.run(ctx); err != nil {
			if d.at == 0 {
				err = errors.Join(err, discard(path))
			}
			return false, err
		}
		err := o.verify(ctx, d.f, part.file, d.rec.SHA256)
		var wrong *ChecksumError
		switch {
		case !errors.As(err, &wrong):
			return false, errors.Join(err, d.f.Sync())
		case again || !d.resumed:
			return false, errors.Join(err, d.restart(), os.Remove(path+partSuffix))
		}
		// What came in pieces may not fit together.
		o.Report(err.Error() + "; it is fetched anew")
		if err := d.restart(); err != nil {
			return false, err
		}
	}
}

// there looks for a file that has the name already: it must be the same, or may be replaced.
func (o *Options) there(ctx context.Context, d *download) (bool, error) {
	info, err := os.Stat(d.path)
	if errors.Is(err, fs.ErrNotExist) || o.Replace {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	want := o.SHA256
	size := d.part.size
	if want == "" {
		want = d.part.sha256
	}
	if want == "" { // what does the server say?
		err := o.persist(ctx, d.part.file, func() (bool, error) {
			ctx, _, stop := o.watch(ctx)
			defer stop()
			resp, said, err := o.get(ctx, d.part.url, nil)
			if err != nil {
				return false, err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return false, o.refusal(resp, d.part.url)
			}
			want, size = said.sha256, max(said.size, resp.ContentLength)
			return false, nil
		})
		if err != nil {
			return false, err
		}
	}
	return o.compare(ctx, d.path, info, size, want)
}

// compare reports whether a file that is there is the one to be fetched. Without a checksum the size decides.
func (o *Options) compare(ctx context.Context, path string, info fs.FileInfo, size int64, want string) (bool, error) {
	other := fmt.Errorf("%w, %s: delete or replace it, or choose another name", ErrExists, path)
	if size > 0 && size != info.Size() {
		return false, other
	}
	if want == "" {
		if size <= 0 {
			return false, other
		}
		o.Report(filepath.Base(path) + " is there, of the same size; without a checksum nothing else is known of it")
		return true, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = o.verify(ctx, f, filepath.Base(path), want)
	if wrong := (*ChecksumError)(nil); errors.As(err, &wrong) {
		return false, other
	}
	return err == nil, err
}

// verify compares the content of a file with checksums: the caller's, and another.
func (o *Options) verify(ctx context.Context, f *os.File, name, also string) error {
	if o.SHA256 == "" && also == "" {
		return nil
	}
	size := int64(0)
	if info, err := f.Stat(); err == nil {
		size = info.Size()
	}
	got, err := hash(ctx, f, func(done int64) { o.Progress("checking "+name, done, size) })
	if err != nil {
		return err
	}
	for _, want := range []string{o.SHA256, also} {
		if want != "" && want != got {
			return &ChecksumError{File: name, Want: want, Got: got}
		}
	}
	return nil
}

// hash is the SHA-256 of a file, in hexadecimal; progress is told how many bytes were read.
func hash(ctx context.Context, f *os.File, progress func(done int64)) (string, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for done := int64(0); ; progress(done) {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := f.Read(buf)
		_, _ = h.Write(buf[:n]) // a hash takes everything
		done += int64(n)
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// Hash is the SHA-256 of a file, in hexadecimal.
func Hash(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return hash(ctx, f, func(int64) {})
}

// check reads the headers of files under way, together under the names that they are to have.
func check(paths []string, have []bool) error {
	dir, err := os.MkdirTemp(filepath.Dir(paths[0]), ".pull-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the worst is a leftover
	for i, path := range paths {
		at, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		if !have[i] {
			at += partSuffix
		}
		if err := os.Symlink(at, filepath.Join(dir, filepath.Base(path))); err != nil {
			return err
		}
	}
	first := filepath.Join(dir, filepath.Base(paths[0]))
	_, err = models.Read(first)
	if err == nil {
		err = models.CheckShapes(first)
	}
	if err == nil {
		return nil
	}
	// To go on with it, or to try it again, would lead to the same.
	for i, path := range paths {
		if !have[i] {
			err = errors.Join(err, discard(path))
		}
	}
	return fmt.Errorf("what was fetched is no model: %w", err)
}

// discard removes a file under way.
func discard(path string) error {
	var errs []error
	for _, s := range []string{partSuffix, recordSuffix} {
		if err := os.Remove(path + s); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// place gives files their names, the first last, because by it the model is found.
func place(paths []string, have []bool) error {
	for i, path := range slices.Backward(paths) {
		if have[i] {
			continue
		}
		if err := os.Rename(path+partSuffix, path); err != nil {
			return err
		}
		_ = os.Remove(path + recordSuffix) // a record without a part says nothing
	}
	dir, err := os.Open(filepath.Dir(paths[0]))
	if err != nil {
		return err
	}
	defer dir.Close()
	_ = dir.Sync() // not all systems can
	return nil
}
