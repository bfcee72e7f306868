package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"

	"aim/internal/state"
	"aim/models"
)

// The endings of a file under way, and of the record beside it.
const (
	partSuffix   = ".part"
	recordSuffix = ".part.json"
)

// record tells which file a part is of, so that no bytes of another one are added to it.
type record struct {
	URL string `json:"url"`
	// ETag and Modified are what the server that sent it tells one version of it from another by, "" where it does not.
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"last_modified,omitempty"`
	// Size is the size of the whole, 0 where nobody says; SHA256 is that of its content, "" likewise.
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	// Commit is the one that the hub says it is of.
	Commit string `json:"commit,omitempty"`
}

// same reports whether two records can be of one file.
func (r *record) same(s *record) bool {
	agree := func(a, b string) bool { return a == "" || b == "" || a == b }
	if r.Size > 0 && s.Size > 0 && r.Size != s.Size {
		return false
	}
	if r.SHA256 != "" && s.SHA256 != "" { // the servers that a hub sends its callers to may disagree about the rest
		return r.SHA256 == s.SHA256
	}
	return agree(r.ETag, s.ETag) && (r.ETag != "" || agree(r.Modified, s.Modified))
}

// validator is what a server compares before it sends the rest, "" where there is nothing to go by.
func (r *record) validator() string {
	if r.ETag != "" && !strings.HasPrefix(r.ETag, "W/") {
		return r.ETag
	}
	return r.Modified
}

// download is one file under way.
type download struct {
	o    *Options
	part *part
	// path is where it is to be; what there is of it lies beside.
	path string
	rec  record
	// at is how much there is, high how much there was at most; resumed says that it did not come in one piece.
	at, high int64
	resumed  bool
	// changes is how often the file was found to be another one.
	changes int
	f       *os.File
}

// open takes up what an earlier run left.
func (d *download) open() error {
	f, err := os.OpenFile(d.path+partSuffix, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	d.f = f
	info, err := f.Stat()
	if err != nil {
		return err
	}
	d.at = info.Size()
	content, err := os.ReadFile(d.path + recordSuffix)
	if err == nil {
		err = json.Unmarshal(content, &d.rec)
	}
	r := &d.rec
	stale := err != nil || r.URL != d.part.url || !d.resumable() || r.Size > 0 && d.at > r.Size ||
		!r.same(&record{Size: d.part.size, SHA256: d.part.sha256})
	if d.at == 0 || stale {
		return d.restart()
	}
	d.resumed, d.high = true, d.at
	return nil
}

// resumable reports whether it would show that the rest is of another file.
func (d *download) resumable() bool {
	return d.rec.validator() != "" || d.rec.SHA256 != "" || d.o.SHA256 != ""
}

// restart forgets what there is.
func (d *download) restart() error {
	d.at, d.resumed, d.rec = 0, false, record{}
	if err := d.f.Truncate(0); err != nil {
		return &fatalError{err}
	}
	if err := os.Remove(d.path + recordSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fatalError{err}
	}
	return nil
}

// run fetches what is missing.
func (d *download) run(ctx context.Context) error {
	if d.rec.Size > 0 && d.at == d.rec.Size {
		d.part.commit = d.rec.Commit
		return nil
	}
	return d.o.persist(ctx, d.part.file, func() (bool, error) {
		before := d.high
		err := d.attempt(ctx)
		return d.high > before, err
	})
}

// errChanged says that what there is cannot be gone on with.
var errChanged = errors.New("the file at the source has changed; it is fetched anew")

// attempt asks for the rest once, and writes what comes.
func (d *download) attempt(ctx context.Context) error {
	ctx, alive, stop := d.o.watch(ctx)
	defer stop()
	if !d.resumable() {
		if err := d.restart(); err != nil {
			return err
		}
	}
	header := http.Header{}
	if d.at > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", d.at))
		if v := d.rec.validator(); v != "" && d.rec.SHA256 == "" {
			header.Set("If-Range", v)
		}
	}
	resp, said, err := d.o.get(ctx, d.part.url, header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := d.begin(resp, said); err != nil {
		return err
	}
	if err := d.room(); err != nil {
		return err
	}
	return d.copy(ctx, &watched{resp.Body, alive})
}

// begin makes sure that an answer is what was asked for, and goes on or starts again with it.
func (d *download) begin(resp *http.Response, said *linked) error {
	got := record{
		URL: d.part.url, ETag: resp.Header.Get("ETag"), Modified: resp.Header.Get("Last-Modified"), SHA256: said.sha256, Commit: said.commit,
	}
	promised := max(said.size, d.part.size)
	d.part.commit = said.commit
	if packed := resp.Header.Get("Content-Encoding"); packed != "" && packed != "identity" {
		return &fatalError{fmt.Errorf("the server packs the file as %q, although it was asked not to", packed)}
	}
	switch resp.StatusCode {
	case http.StatusOK:
		got.Size = max(0, resp.ContentLength)
		if d.at > 0 && !got.same(&d.rec) {
			d.o.Report(d.part.file + ": " + errChanged.Error())
			if err := d.changed(); !errors.Is(err, errChanged) {
				return err
			}
		} else if d.at > 0 {
			d.o.Report(d.part.file + ": the server cannot send the rest alone, so it sends all of it again")
		}
		if err := d.restart(); err != nil {
			return err
		}
	case http.StatusPartialContent:
		from, size, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || from != d.at {
			return &fatalError{fmt.Errorf("the server sends %q where the rest from byte %d was asked for", resp.Header.Get("Content-Range"), d.at)}
		}
		got.Size = size
		if !got.same(&d.rec) {
			return d.changed()
		}
		got.Size = max(got.Size, d.rec.Size)
		d.resumed = true
	case http.StatusRequestedRangeNotSatisfiable:
		if d.at == 0 {
			return d.o.refusal(resp, d.part.url)
		}
		return d.changed()
	default:
		return d.o.refusal(resp, d.part.url)
	}
	if d.part.sha256 != "" && got.SHA256 != "" && got.SHA256 != d.part.sha256 {
		return &fatalError{errors.New("the hub's list and its file disagree about the checksum: it changed just now, try again")}
	}
	if got.SHA256 == "" {
		got.SHA256 = d.part.sha256
	}
	if d.o.SHA256 != "" && got.SHA256 != "" && got.SHA256 != d.o.SHA256 {
		return &fatalError{&ChecksumError{File: d.part.file, Want: d.o.SHA256, Got: got.SHA256}}
	}
	if promised > 0 && got.Size > 0 && promised != got.Size {
		return &fatalError{fmt.Errorf("the hub says that the file has %d bytes, the server that sends it says %d", promised, got.Size)}
	}
	got.Size = max(got.Size, promised)
	d.rec = got
	content, err := json.Marshal(&d.rec)
	if err == nil {
		err = state.Write(d.path+recordSuffix, content)
	}
	if err != nil {
		return &fatalError{err}
	}
	return nil
}

// changed forgets what there is of another version of the file. Its error is errChanged, once the file changed too often a fatal one.
func (d *download) changed() error {
	if err := d.restart(); err != nil {
		return err
	}
	d.high = 0
	if d.changes++; d.changes > maxChanges {
		return &fatalError{fmt.Errorf("the file at the source changed %d times while it was fetched", d.changes)}
	}
	return errChanged
}

// maxChanges is how often a file may change while it is fetched.
const maxChanges = 3

// contentRange reads "bytes 10-19/20"; size is 0 where it is not told.
func contentRange(text string) (from, size int64, ok bool) {
	text, ok = strings.CutPrefix(text, "bytes ")
	span, total, ok2 := strings.Cut(text, "/")
	first, last, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, false
	}
	from, err := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	if err != nil || err2 != nil || from < 0 || to < from {
		return 0, 0, false
	}
	if total == "*" {
		return from, 0, true
	}
	size, err = strconv.ParseInt(total, 10, 64)
	return from, size, err == nil && size > to
}

// room makes sure that the rest fits the disk.
func (d *download) room() error {
	return d.o.room(d.part.file, d.rec.Size-d.at)
}

// copy writes what comes to the end of the file.
func (d *download) copy(ctx context.Context, body io.Reader) error {
	if _, err := d.f.Seek(d.at, io.SeekStart); err != nil {
		return &fatalError{err}
	}
	size := d.rec.Size
	buf := make([]byte, 256<<10)
	for {
		n, err := body.Read(buf)
		if size > 0 && d.at+int64(n) > size {
			return &fatalError{errors.Join(fmt.Errorf("the server sends more than the %d bytes that it promised", size), d.restart())}
		}
		if _, err := d.f.Write(buf[:n]); err != nil {
			return &fatalError{err}
		}
		d.at += int64(n)
		d.high = max(d.high, d.at)
		d.o.Progress(d.part.file, d.at, size)
		switch {
		case err == nil:
			continue
		case !errors.Is(err, io.EOF):
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = errors.New("the connection was cut")
			}
			return fmt.Errorf("%w after %d bytes%s", cause(ctx, err), d.at, ofSize(size))
		case d.at < size:
			return fmt.Errorf("the server sent %d bytes of the %d that it promised", d.at, size)
		case d.at == 0:
			return &fatalError{errors.New("the file is empty")}
		}
		d.rec.Size = d.at
		return nil
	}
}

func ofSize(size int64) string {
	if size == 0 {
		return ""
	}
	return fmt.Sprintf(" of %d", size)
}

// room makes sure that so many bytes fit the disk of the models folder.
func (o *Options) room(what string, bytes int64) error {
	free, err := freeSpace(o.Dir)
	if err != nil {
		return &fatalError{err}
	}
	if bytes > free {
		return &fatalError{fmt.Errorf("%s needs %d bytes on the disk of %s, which has %d free", what, bytes, o.Dir, free)}
	}
	return nil
}

// freeSpace is the room on a disk; tests have less.
var freeSpace = models.FreeSpace
