package pull

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
)

// fetchLocal copies or links one file of this machine.
func (o *Options) fetchLocal(ctx context.Context, part *part, path string) (already bool, err error) {
	info, err := os.Stat(path)
	if err == nil && !o.Replace {
		want := o.SHA256
		if source, err := os.Stat(part.local); err == nil && os.SameFile(source, info) {
			return true, nil
		} else if want == "" {
			if want, err = Hash(ctx, part.local); err != nil {
				return false, err
			}
		}
		return o.compare(ctx, path, info, part.size, want)
	}
	if err := discard(path); err != nil {
		return false, err
	}
	if o.Link {
		err = os.Link(part.local, path+partSuffix)
	} else if err = o.room(part.file, part.size); err == nil {
		err = o.copy(ctx, part, path)
	}
	if err == nil {
		err = o.verifyPath(ctx, path+partSuffix, part.file)
	}
	if err != nil {
		return false, errors.Join(err, discard(path))
	}
	return false, nil
}

func (o *Options) verifyPath(ctx context.Context, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return o.verify(ctx, f, name, "")
}

// copy copies a file in pieces, so that progress shows and ctx ends it.
func (o *Options) copy(ctx context.Context, part *part, path string) error {
	in, err := os.Open(part.local)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path+partSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(0o644))
	if err != nil {
		return err
	}
	defer out.Close()
	for done := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(out, in, 16<<20) // the kernel copies, where it can
		done += n
		o.Progress(part.file, done, part.size)
		if errors.Is(err, io.EOF) {
			return errors.Join(out.Sync(), out.Close())
		}
		if err != nil {
			return err
		}
	}
}
