package edge

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// answered is the answer of an edge to a request.
func answered(s Settings, method, host string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://"+host+"/v1/models", nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	New(s).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, ClientAddr(r).String()) })).ServeHTTP(w, r)
	return w
}

func TestHeaders(t *testing.T) {
	w := answered(Settings{}, http.MethodGet, "api.example.com")
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		"Strict-Transport-Security": "", "Access-Control-Allow-Origin": "", "Vary": "",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestCORS(t *testing.T) {
	const chat = "https://chat.example.com"
	preflight := func(origin string) []string {
		return []string{"Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization, content-type, x-stainless-os"}
	}
	listed := Settings{Origins: []string{chat}}
	for name, c := range map[string]struct {
		s              Settings
		method, origin string
		header         []string
		status         int
		allow, vary    string
	}{
		"listed":              {listed, "GET", chat, nil, 200, chat, "Origin"},
		"another":             {listed, "GET", "https://evil.example", nil, 200, "", "Origin"},
		"a longer one":        {listed, "GET", chat + ".evil.example", nil, 200, "", "Origin"},
		"none":                {listed, "GET", "", nil, 200, "", "Origin"},
		"all":                 {Settings{Origins: []string{"*"}}, "GET", "null", nil, 200, "*", ""},
		"preflight":           {listed, "OPTIONS", chat, preflight(chat), 204, chat, "Origin"},
		"preflight of others": {listed, "OPTIONS", "null", preflight("null"), 403, "", "Origin"},
		"preflight to none":   {Settings{}, "OPTIONS", chat, preflight(chat), 403, "", "Access-Control-Request-Method, Access-Control-Request-Headers"},
	} {
		header := c.header
		if header == nil && c.origin != "" {
			header = []string{"Origin", c.origin}
		}
		w := answered(c.s, c.method, "api.example.com", header...)
		h := w.Header()
		if w.Code != c.status || h.Get("Access-Control-Allow-Origin") != c.allow || h.Get("Vary") != c.vary {
			t.Errorf("%s: %d, %q, vary %q; want %d, %q, %q", name, w.Code, h.Get("Access-Control-Allow-Origin"), h.Get("Vary"), c.status, c.allow, c.vary)
		}
		if c.allow != "" && !strings.Contains(h.Get("Access-Control-Expose-Headers"), "X-RateLimit-Remaining-Tokens") {
			t.Errorf("%s: exposes %q", name, h.Get("Access-Control-Expose-Headers"))
		}
		if c.status == 204 && h.Get("Access-Control-Allow-Headers") != "authorization, content-type, x-stainless-os" {
			t.Errorf("%s: allows headers %q", name, h.Get("Access-Control-Allow-Headers"))
		}
	}
	w := answered(listed, "OPTIONS", "a", "Origin", chat, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "a\"b")
	if w.Code != 204 || w.Header().Get("Access-Control-Allow-Headers") != "" {
		t.Errorf("malformed headers: %d %q", w.Code, w.Header())
	}
}

// TestRebinding holds that no page reaches a guarded server, under whichever name it comes.
func TestRebinding(t *testing.T) {
	s := Settings{Guarded: true, Hosts: []string{"Aim.lan"}, Origins: []string{"https://chat.example.com"}}
	for host, ok := range map[string]bool{
		"127.0.0.1:8080": true, "localhost:8080": true, "LOCALHOST.": true, "aim.localhost": true, "[::1]:8080": true, "192.168.1.5": true, "aim.lan:8080": true,
		"evil.example": false, "127.0.0.1.evil.example:8080": false, "localhost.evil.example": false, "notlocalhost": false,
	} {
		w := answered(s, http.MethodGet, host)
		if (w.Code == 200) != ok || !ok && !strings.Contains(w.Body.String(), `"code":"host_not_allowed"`) {
			t.Errorf("%s: %d %s", host, w.Code, w.Body)
		}
	}
	for _, c := range []struct {
		name string
		code int
		h    []string
	}{
		{"a form of another page", 403, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain"}},
		{"an old browser", 403, []string{"Origin", "https://evil.example"}},
		{"a listed page", 200, []string{"Origin", "https://chat.example.com", "Sec-Fetch-Site", "cross-site"}},
		{"its own page", 200, []string{"Origin", "http://localhost:8080", "Sec-Fetch-Site", "same-origin"}},
		{"no browser", 200, nil},
	} {
		if w := answered(s, http.MethodPost, "localhost:8080", c.h...); w.Code != c.code {
			t.Errorf("%s: %d, want %d", c.name, w.Code, c.code)
		}
	}
	if w := answered(Settings{}, http.MethodGet, "evil.example"); w.Code != 200 {
		t.Errorf("a server that is not guarded: %d", w.Code)
	}
	if w := answered(Settings{Guarded: true, Hosts: []string{"*"}}, http.MethodGet, "any.example"); w.Code != 200 {
		t.Errorf("all hosts: %d", w.Code)
	}
}

func TestUnguard(t *testing.T) {
	e := New(Settings{Guarded: true})
	h := e.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	status := func() int {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = "any.example"
		h.ServeHTTP(w, r)
		return w.Code
	}
	before, guarded := status(), e.Guarded()
	e.Unguard()
	if after := status(); before != 403 || !guarded || after != 200 || e.Guarded() {
		t.Errorf("guarded %v: %d, then %v: %d", guarded, before, e.Guarded(), after)
	}
}

func TestClientAddr(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	for _, c := range []struct {
		name, want string
		proxies    []netip.Prefix
		h          []string
	}{
		{"trusted by default are none", "192.0.2.1", nil, []string{"X-Forwarded-For", "203.0.113.9"}},
		{"a proxy's word", "203.0.113.9", proxies, []string{"X-Forwarded-For", "203.0.113.9"}},
		{"what the client made up stands before", "203.0.113.9", proxies, []string{"X-Forwarded-For", "127.0.0.1, 203.0.113.9, 10.1.1.1"}},
		{"in several lines", "203.0.113.9", proxies, []string{"X-Forwarded-For", "127.0.0.1", "X-Forwarded-For", "203.0.113.9"}},
		{"with ports", "203.0.113.9", proxies, []string{"X-Forwarded-For", "203.0.113.9:4711"}},
		{"IPv6 with port", "2001:4860::1", proxies, []string{"X-Forwarded-For", "[2001:4860::1]:4711"}},
		{"IPv4 in IPv6", "203.0.113.9", proxies, []string{"X-Forwarded-For", "::ffff:203.0.113.9"}},
		{"all are proxies", "10.1.1.1", proxies, []string{"X-Forwarded-For", "10.1.1.1, 10.2.2.2"}},
		{"the proxy asks itself", "192.0.2.1", proxies, nil},
		{"unreadable", "invalid IP", proxies, []string{"X-Forwarded-For", "203.0.113.9, unknown"}},
		{"empty", "invalid IP", proxies, []string{"X-Forwarded-For", ""}},
		{"RFC 7239", "2001:4860::1", proxies, []string{"Forwarded", `for=127.0.0.1;proto=http, For="[2001:4860::1]:47";by=10.0.0.1, for=10.0.0.1`}},
		{"RFC 7239 without for", "invalid IP", proxies, []string{"Forwarded", "proto=https"}},
		{"RFC 7239, hidden", "invalid IP", proxies, []string{"Forwarded", "for=_secret"}},
		{"both agree", "203.0.113.9", proxies, []string{"Forwarded", "for=203.0.113.9", "X-Forwarded-For", "203.0.113.9"}},
		{"both differ", "invalid IP", proxies, []string{"Forwarded", "for=10.0.0.9", "X-Forwarded-For", "203.0.113.9"}},
	} {
		// httptest's requests come from 192.0.2.1.
		if got := answered(Settings{Proxies: c.proxies}, http.MethodGet, "a", c.h...).Body.String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// serving serves on a free port until the test ends.
func serving(t *testing.T, web *http.Server, caps Caps) (addr string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if !Loopback(l.Addr()) {
		t.Errorf("%v is no loopback", l.Addr())
	}
	capped := Cap(l, caps, slog.New(slog.DiscardHandler))
	go func() {
		if web.TLSConfig != nil {
			_ = web.ServeTLS(capped, "", "")
		} else {
			_ = web.Serve(capped)
		}
	}()
	t.Cleanup(func() { _ = web.Close() })
	return l.Addr().String()
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") })

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestSlowLoris has a client that sends a header line now and then, and one that sends nothing: both lose their connections.
func TestSlowLoris(t *testing.T) {
	addr := serving(t, NewServer(hello, Limits{HeaderTimeout: 200 * time.Millisecond, IdleTimeout: 200 * time.Millisecond}, slog.New(slog.DiscardHandler)), Caps{})
	for name, keep := range map[string]string{"slow": "X-A: b\r\n", "silent": "", "idle": "-"} {
		c := dial(t, addr)
		head := "GET / HTTP/1.1\r\nHost: a\r\n"
		if keep == "-" { // one whole request, and then none
			head, keep = head+"\r\n", ""
		}
		if _, err := io.WriteString(c, head); err != nil {
			t.Fatal(err)
		}
		go func() {
			for keep != "" {
				time.Sleep(20 * time.Millisecond)
				if _, err := io.WriteString(c, keep); err != nil {
					return
				}
			}
		}()
		// It hangs here where the server waits for ever.
		if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHeaderFlood has a head that is too large, in one line and in many, and one without an end.
func TestHeaderFlood(t *testing.T) {
	addr := serving(t, NewServer(hello, Limits{MaxHeader: 8 << 10}, slog.New(slog.DiscardHandler)), Caps{})
	for name, header := range map[string]string{
		"a large line": "X-A: " + strings.Repeat("a", 20<<10) + "\r\n", "many lines": strings.Repeat("X-A: b\r\n", 4<<10), "a large path": "",
	} {
		c := dial(t, addr)
		path := "/"
		if header == "" {
			path += strings.Repeat("a", 20<<10)
		}
		go func() { _, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: a\r\n"+header+"\r\n") }()
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = r.Body.Close()
		if r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s: %s", name, r.Status)
		}
	}
	c := dial(t, addr)
	endless := 0
	for endless < 10<<20 {
		n, err := io.WriteString(c, strings.Repeat("X-A: b\r\n", 512))
		if endless += n; err != nil {
			break
		}
	}
	if endless >= 10<<20 {
		t.Error("a head without an end was read for ever")
	}
}

// TestCaps has more connections than are allowed: those beyond are closed, the others served, and places come free.
func TestCaps(t *testing.T) {
	addr := serving(t, NewServer(hello, Limits{}, slog.New(slog.DiscardHandler)), Caps{Total: 2, PerAddress: 1})
	get := func(c net.Conn) error {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			return err
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			err = r.Body.Close()
		}
		return err
	}
	a, b := dial(t, addr), dial(t, addr) // loopback is not counted by address
	for _, c := range []net.Conn{a, b} {
		if err := get(c); err != nil {
			t.Error(err)
		}
	}
	if err := get(dial(t, addr)); err == nil {
		t.Error("a third connection was served")
	}
	_ = a.Close()
	for tries := 0; ; tries++ { // until the server saw that
		if err := get(dial(t, addr)); err == nil {
			break
		}
		if tries == 500 {
			t.Fatal("no place came free")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestPerAddress counts addresses and networks.
func TestPerAddress(t *testing.T) {
	l := &capped{
		caps: Caps{PerAddress: 2, Exempt: func(a netip.Addr) bool { return a == netip.MustParseAddr("203.0.113.7") }},
		log:  slog.New(slog.DiscardHandler), from: map[netip.Addr]int{},
	}
	enter := func(addr string) bool {
		key, counted := l.key(netip.MustParseAddr(addr))
		return l.enter(key, counted)
	}
	for i, c := range []struct {
		addr string
		ok   bool
	}{
		{"203.0.113.1", true},
		{"203.0.113.1", true},
		{"203.0.113.1", false},
		{"203.0.113.2", true},
		{"203.0.113.7", true},
		{"203.0.113.7", true},
		{"203.0.113.7", true},
		{"2001:db8::1", true},
		{"2001:db8::2", true},
		{"2001:db8::3", false},
		{"2001:db8:0:1::3", true},
		{"::1", true},
		{"::1", true},
		{"::1", true},
	} {
		if got := enter(c.addr); got != c.ok {
			t.Errorf("%d: %s: %v", i, c.addr, got)
		}
	}
	key, counted := l.key(netip.MustParseAddr("203.0.113.1"))
	l.leave(key, counted)
	if !enter("203.0.113.1") {
		t.Error("a place did not come free")
	}
}

// certify writes a certificate that is valid for so long, and its key.
func certify(t *testing.T, dir, name string, valid time.Duration) (cert, key string, der []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(valid),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k); err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key, der
}

// presented is the certificate that a server shows in a handshake.
func presented(t *testing.T, addr string) string {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the test looks at the name
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestTLS serves over TLS, with certificates that change, break and come back.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key, der := certify(t, dir, "first", time.Hour)
	var logged syncBuffer
	c, err := LoadCertificate(cert, key, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	web := NewServer(New(Settings{}).Handler(hello), Limits{}, slog.New(slog.DiscardHandler))
	web.TLSConfig = c.Config()
	addr := serving(t, web, Caps{Total: 100})

	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(leaf)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	r, err := (&http.Client{Transport: transport}).Get("https://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.ProtoMajor != 2 || r.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("HTTP/%d, %v", r.ProtoMajor, r.Header)
	}
	if _, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil { //nolint:gosec // that it is refused
		t.Error("TLS 1.1 was taken")
	}

	// A handshake looks at the files at most once in recheck; the test does not wait for that.
	later := func() {
		c.mu.Lock()
		c.checked = time.Time{}
		c.mu.Unlock()
	}
	certify(t, dir, "second", time.Hour)
	later()
	if got := presented(t, addr); got != "second" {
		t.Errorf("after a change it shows %s", got)
	}
	if err := os.WriteFile(key, []byte("broken, and of another size"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		later()
		if got := presented(t, addr); got != "second" {
			t.Errorf("with a broken key it shows %s", got)
		}
	}
	if n := strings.Count(logged.String(), "the old one stays"); n != 1 {
		t.Errorf("the log says %d times that the key is broken: %s", n, logged.String())
	}
	certify(t, dir, "expired", -time.Hour)
	if err := c.Reload(); err == nil || presented(t, addr) != "second" {
		t.Errorf("took an expired certificate: %v", err)
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(); err == nil || presented(t, addr) != "second" {
		t.Errorf("without a file: %v", err)
	}
	certify(t, dir, "third", time.Hour)
	if err := c.Reload(); err != nil || presented(t, addr) != "third" {
		t.Errorf("after a reload: %v", err)
	}
	elsewhere, elseKey, _ := certify(t, t.TempDir(), "fourth", time.Hour)
	if err := c.Move(elsewhere, "nowhere"); err == nil || presented(t, addr) != "third" {
		t.Errorf("moved to files that are not there: %v", err)
	}
	if err := c.Move(elsewhere, elseKey); err != nil || presented(t, addr) != "fourth" {
		t.Errorf("moved: %v", err)
	}
	if _, err := LoadCertificate("nowhere", key, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("loaded a certificate that is not there")
	}
}

// TestSilentHandshake has a client that connects to a TLS server and says nothing, and one that speaks plain HTTP.
func TestSilentHandshake(t *testing.T) {
	cert, key, _ := certify(t, t.TempDir(), "first", time.Hour)
	c, err := LoadCertificate(cert, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	web := NewServer(hello, Limits{HeaderTimeout: 200 * time.Millisecond}, slog.New(slog.DiscardHandler))
	web.TLSConfig = c.Config()
	addr := serving(t, web, Caps{})
	// It hangs here where the server waits for ever.
	if _, err := io.Copy(io.Discard, dial(t, addr)); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	plain := dial(t, addr)
	_, _ = io.WriteString(plain, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") // what comes back is looked at
	r, err := http.ReadResponse(bufio.NewReader(plain), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP: %s", r.Status)
	}
}

// TestManyClients has handshakes and requests beside reloads, for the race detector.
func TestManyClients(t *testing.T) {
	dir := t.TempDir()
	cert, key, _ := certify(t, dir, "first", time.Hour)
	c, err := LoadCertificate(cert, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	e := New(Settings{})
	web := NewServer(e.Handler(hello), Limits{}, slog.New(slog.DiscardHandler))
	web.TLSConfig = c.Config()
	addr := serving(t, web, Caps{Total: 100, PerAddress: 100, Exempt: e.Proxy})
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 5 {
				transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // its own certificate
				r, err := (&http.Client{Transport: transport}).Get("https://" + addr)
				if err != nil {
					t.Error(err)
					return
				}
				_ = r.Body.Close()
				transport.CloseIdleConnections()
				e.Set(Settings{Origins: []string{fmt.Sprint("https://", i)}})
				if err := c.Reload(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}
