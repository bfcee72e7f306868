package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"aim/internal/testmodel"
)

// offered is `aim serve --config` in a test.
type offered struct {
	t         *testing.T
	dir, file string
	url       string
	client    *http.Client
	log       *watchedLog
	stop      func()
}

// watchedLog is what a server logs, for tests that wait for a line of it.
type watchedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed with each line
}

func (l *watchedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	close(l.more)
	l.more = make(chan struct{})
	return len(b), nil
}

// from is what was logged after a mark, and a channel that tells of more.
func (l *watchedLog) from(mark int) (string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()[mark:], l.more
}

func (l *watchedLog) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Len()
}

// patience is how long a test waits for what a server must do.
const patience = time.Minute

// wait returns what was logged from mark on, once one of the texts is in it.
func (l *watchedLog) wait(t *testing.T, mark int, texts ...string) string {
	t.Helper()
	over := time.After(patience)
	for {
		said, more := l.from(mark)
		for _, text := range texts {
			if strings.Contains(said, text) {
				return said
			}
		}
		select {
		case <-more:
		case <-over:
			t.Fatalf("none of %q is logged:\n%s", texts, said)
		}
	}
}

var servesAt = regexp.MustCompile(`Aim serves (\S+) at (https?://\S+)/v1`)

// offering runs a server on a configuration until the test ends. MODEL in it stands for the real model, and DIR for a folder of the test's own.
func offering(t *testing.T, yaml string) *offered {
	t.Helper()
	o := &offered{t: t, dir: stateDir(t), client: &http.Client{}, log: &watchedLog{more: make(chan struct{})}}
	o.file = filepath.Join(o.dir, "aim.yaml")
	o.write(yaml)
	o.start()
	return o
}

func (o *offered) write(yaml string) {
	o.t.Helper()
	head := "version: 1\nstate_dir: DIR\n"
	if !strings.Contains(yaml, "address:") {
		head += "server: {address: '127.0.0.1:0'}\n"
	}
	text := strings.NewReplacer("MODEL", testmodel.Path(o.t), "DIR", o.dir).Replace(head + yaml)
	if err := os.WriteFile(o.file, []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

func (o *offered) start() {
	o.t.Helper()
	for _, name := range []string{"AIM_CONFIG", "AIM_DATABASE"} {
		o.t.Setenv(name, "") // nothing of whoever runs the tests
	}
	ctx, end := context.WithCancel(o.t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"serve", "--config", o.file}, streams{strings.NewReader(""), in, o.log})
		in.CloseWithError(err)
		ended <- err
	}()
	o.stop = func() {
		end()
		if err := <-ended; err != nil {
			o.t.Error(err)
		}
		ended <- nil
	}
	o.t.Cleanup(func() {
		o.stop()
		if o.t.Failed() {
			said, _ := o.log.from(0)
			o.t.Log(said)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	m := servesAt.FindStringSubmatch(line)
	if m == nil {
		o.t.Fatalf("greeting %q, %v", line, err)
	}
	go io.Copy(io.Discard, out) // it ends with the server
	o.url = m[2]
}

// aim runs another command of an owner.
func (o *offered) aim(args ...string) string {
	o.t.Helper()
	out, err := try(o.t, "", append(args, "--config", o.file)...)
	if err != nil {
		o.t.Fatalf("aim %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(out)
}

// reply is what a server answered.
type reply struct {
	status int
	header http.Header
	body   string
}

// code is that of an error.
func (r reply) code() string {
	var e struct {
		Error struct{ Code, Type, Param string }
	}
	_ = json.Unmarshal([]byte(r.body), &e) // "" where it is none
	return e.Error.Code
}

// text is that of an answer to a conversation.
func (r reply) text() string {
	var answer struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if json.Unmarshal([]byte(r.body), &answer) != nil || len(answer.Choices) == 0 {
		return ""
	}
	return answer.Choices[0].Message.Content
}

// send makes a request with a key, "" for none.
func (o *offered) send(method, path, key, body string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(o.t.Context(), method, o.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	return o.client.Do(request)
}

func (o *offered) ask(method, path, key, body string) reply {
	o.t.Helper()
	response, err := o.send(method, path, key, body)
	if err != nil {
		o.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(text)}
}

func (o *offered) get(path, key string) reply {
	o.t.Helper()
	return o.ask(http.MethodGet, path, key, "")
}

// conversation is the body of a request for eight tokens, with further fields.
func conversation(model, more string) string {
	return fmt.Sprintf(`{"model": %q, "messages": [{"role": "user", "content": "What is gravity?"}], "max_tokens": 8%s}`, model, more)
}

func (o *offered) chat(model, key, more string) reply {
	o.t.Helper()
	return o.ask(http.MethodPost, "/v1/chat/completions", key, conversation(model, more))
}

// models are the names that a key is told.
func (o *offered) models(key string) string {
	o.t.Helper()
	var list struct{ Data []struct{ ID string } }
	if r := o.get("/v1/models", key); r.status != http.StatusOK || json.Unmarshal([]byte(r.body), &list) != nil {
		o.t.Errorf("models: %+v", r)
	}
	var names []string
	for _, m := range list.Data {
		names = append(names, m.ID)
	}
	return strings.Join(names, " ")
}

// refused checks an answer's status and code.
func (o *offered) refused(what string, r reply, status int, code string) {
	o.t.Helper()
	if r.status != status || r.code() != code {
		o.t.Errorf("%s: status %d, %s; want %d %s", what, r.status, r.body, status, code)
	}
}

// eventually waits for what must become true.
func (o *offered) eventually(what string, is func() bool) {
	o.t.Helper()
	if !within(patience, is) {
		o.t.Fatal(errors.New(what))
	}
}

// knock is the status that a door answers.
func knock(d *frontDoor, path string) int {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code
}

// certificate makes a certificate for this machine, its key, and a pool of those who trust it.
func certificate(t *testing.T, dir, name string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, secret.Public(), secret)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return cert, key, pool
}
