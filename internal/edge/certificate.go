package edge

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// recheck is how often handshakes look whether the files changed.
const recheck = time.Second

// Certificate is a certificate in files, which are read again when they change. Where the new ones are broken the old certificate stays, and the log says
// why. Its methods are safe for concurrent use.
type Certificate struct {
	log *slog.Logger

	mu        sync.Mutex
	cert, key string
	loaded    *tls.Certificate
	// seen are the files that were read last, whether they were any good or not.
	seen    stamp
	checked time.Time
}

// stamp tells the contents of two files from others.
type stamp struct{ cert, key fileStamp }

type fileStamp struct {
	size  int64
	mtime time.Time
}

// LoadCertificate reads PEM files: the certificate with its chain, and its key. It fails where they cannot be used.
func LoadCertificate(cert, key string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{log: log, cert: cert, key: key}
	return c, c.Reload()
}

// Config is the TLS of a server that has the certificate: TLS 1.2 or later, HTTP/2 where the client knows it.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current(time.Now()), nil
		},
	}
}

// Reload reads the files now, such as on SIGHUP. On an error the old certificate stays.
func (c *Certificate) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read(c.stat())
}

// Move takes the certificate from other files from now on. On an error everything stays as it is.
func (c *Certificate) Move(cert, key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	oldCert, oldKey := c.cert, c.key
	c.cert, c.key = cert, key
	if err := c.read(c.stat()); err != nil {
		c.cert, c.key = oldCert, oldKey
		c.seen = c.stat()
		return err
	}
	return nil
}

// current is the certificate for a handshake, read again where the files changed.
func (c *Certificate) current(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := now.Sub(c.checked); age >= 0 && age < recheck {
		return c.loaded
	}
	c.checked = now
	s := c.stat()
	if s == c.seen {
		return c.loaded
	}
	if err := c.read(s); err != nil {
		c.log.Error("the new TLS certificate cannot be used, and the old one stays", "error", err)
	} else {
		c.log.Info("the TLS certificate is read again", "expires", c.loaded.Leaf.NotAfter)
	}
	return c.loaded
}

// stat looks at the files. One that is not there has a stamp, too.
func (c *Certificate) stat() stamp {
	look := func(path string) (f fileStamp) {
		if info, err := os.Stat(path); err == nil {
			f = fileStamp{info.Size(), info.ModTime()}
		}
		return f
	}
	return stamp{look(c.cert), look(c.key)}
}

// read takes the files, whose stamp was taken before: what changes meanwhile is read once more.
func (c *Certificate) read(s stamp) error {
	c.seen = s
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("TLS certificate %s: %w", c.cert, err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return fmt.Errorf("TLS certificate %s: %w", c.cert, err)
		}
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) {
		// Some clients still come with an expired certificate, none without one.
		if c.loaded != nil && now.Before(c.loaded.Leaf.NotAfter) {
			return fmt.Errorf("TLS certificate %s: it expired %s", c.cert, pair.Leaf.NotAfter.Format(time.DateTime))
		}
		c.log.Warn("the TLS certificate has expired", "file", c.cert, "expired", pair.Leaf.NotAfter)
	}
	c.loaded = &pair
	return nil
}
