// Package testpostgres starts PostgreSQL for tests: one server for a test process, on a free port of 127.0.0.1, in a temporary folder, under an
// unprivileged user. It ends, and its folder goes, when the process ends, however that ends.
package testpostgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience bounds starting and stopping the server.
const patience = 30 * time.Second

// Server is a PostgreSQL server.
type Server struct {
	bin, dir string
	port     int
	as       *syscall.Credential // nil for the user of the tests

	mu        sync.Mutex
	running   *exec.Cmd
	stdin     io.Closer
	databases int
}

var shared = sync.OnceValues(start)

// Start returns the process's server, started at the first call. It skips the test where PostgreSQL is not installed.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := shared()
	if missing := (*missingError)(nil); errors.As(err, &missing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type missingError struct{ what string }

func (e *missingError) Error() string {
	return e.what + ": install PostgreSQL (scripts/deps services) to run this test"
}

// binaries is the folder of the server's programs. Debian keeps them out of the PATH.
func binaries() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if path, err := exec.LookPath("initdb"); err == nil && len(found) == 0 {
		found = append(found, path)
	}
	if len(found) == 0 {
		return "", &missingError{"no initdb"}
	}
	return filepath.Dir(slices.Max(found)), nil
}

// unprivileged is the user to run as: PostgreSQL refuses root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, &missingError{"PostgreSQL refuses root, and there is no user postgres or nobody"}
}

func start() (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "aim-postgres-")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir, as: as}
	if as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			return nil, err
		}
	}
	// -E UTF8 whatever the machine's locale is.
	initdb := s.command(filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "aim", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w\n%s", err, out), os.RemoveAll(dir))
	}
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	return s, s.run()
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close() //nolint:errcheck // the port is what counts
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as, Setpgid: true} // Ctrl-C is for the tests
	return cmd
}

// supervise runs a server until its own input ends, as it does when the test process does; then it stops the server by its process ID and, but
// for a file that says to keep it, removes the folder.
const supervise = `exec 3<&0
"$1" -D data -c listen_addresses=127.0.0.1 -c port="$2" -c unix_socket_directories= -c fsync=off -c max_connections=100 </dev/null >>log 2>&1 &
pid=$!
cat <&3 >/dev/null
kill -INT $pid
wait $pid
[ -e keep ] || { dir=$PWD; cd /; rm -rf "$dir"; }`

// run starts the server and waits until it answers.
func (s *Server) run() error {
	_ = os.Remove(filepath.Join(s.dir, "keep"))
	cmd := s.command("sh", "-c", supervise, "sh", filepath.Join(s.bin, "postgres"), strconv.Itoa(s.port))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.running, s.stdin = cmd, stdin
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.dsn("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		if ctx.Err() != nil {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("PostgreSQL does not answer: %w\n%s", err, log)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *Server) dsn(database string) string {
	return fmt.Sprintf("postgres://aim@127.0.0.1:%d/%s?sslmode=disable", s.port, database)
}

// Database makes an empty database for a test and returns its DSN.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.databases++
	name := fmt.Sprintf("test%d", s.databases)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.dsn("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing is left to do with it
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return s.dsn(name)
}

// Stop stops the server, which ends all connections, until Restart; at the latest, the end of the test restarts it.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.WriteFile(filepath.Join(s.dir, "keep"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.stdin.Close()
	if err := s.running.Wait(); err != nil {
		t.Fatal(err)
	}
	s.running = nil
	t.Cleanup(func() { s.Restart(t) })
}

// Restart starts a server that was stopped, with its databases and on its port.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return
	}
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}
