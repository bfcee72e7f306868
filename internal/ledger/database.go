package ledger

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite", which needs no C
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// schemaTable is where goose notes which migrations ran.
	schemaTable = "aim_schema"
	// migrationLock is the number of PostgreSQL's advisory lock that one replica holds while it migrates: "aim" and a version of the rule.
	migrationLock = 0x61696d_01
	// connections bounds the pool: the writer, the drainer, and lookups of keys, which take fractions of a millisecond.
	connections = 8
	// sqliteWaits is how long SQLite waits for another process that writes.
	sqliteWaits = 2 * time.Second
	// connectTimeout is how long PostgreSQL is waited for unless the DSN says so.
	connectTimeout = 5 * time.Second
	// openTries is how often a SQLite file is opened where another process makes it at the same time.
	openTries = 20
)

// NewerError says that a newer program made the database's tables. This one would not know what they mean.
type NewerError struct{ Have, Known int64 }

func (e *NewerError) Error() string {
	return fmt.Sprintf("the database has version %d of its tables, and this program knows versions up to %d: use the newer program", e.Have, e.Known)
}

// database is a pool of connections, and which dialect it speaks.
type database struct {
	*sql.DB
	postgres bool
	// path is that of SQLite's file.
	path string
}

// isPostgres says that a DSN is PostgreSQL's; all without a scheme are paths.
func isPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// CheckDSN says what is wrong with a DSN without opening it. Its error shows no password.
func CheckDSN(dsn string) error {
	switch {
	case dsn == "":
		return errors.New("no database: want the path of a file, or postgres://user@host/database")
	case isPostgres(dsn):
		_, err := pgx.ParseConfig(dsn) // its errors leave the password out
		return err
	case strings.Contains(dsn, "dbname=") || strings.HasPrefix(dsn, "host="):
		return errors.New("want PostgreSQL's DSN as postgres://user@host/database, not as key=value") // it may hold a password
	case strings.Contains(dsn, "://"):
		scheme, _, _ := strings.Cut(dsn, "://")
		return fmt.Errorf("%s:// is no database that Aim knows: want the path of a file, or postgres://user@host/database", scheme)
	}
	return nil
}

// openDatabase opens a database and brings its tables up to date.
func openDatabase(ctx context.Context, dsn string) (*database, error) {
	if err := CheckDSN(dsn); err != nil {
		return nil, err
	}
	if isPostgres(dsn) {
		return openPostgres(ctx, dsn)
	}
	return openSQLite(ctx, dsn)
}

func openPostgres(ctx context.Context, dsn string) (*database, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "aim"
	}
	if !strings.Contains(dsn, "connect_timeout") {
		config.ConnectTimeout = connectTimeout // pgx's is two minutes
	}
	db := &database{DB: stdlib.OpenDB(*config), postgres: true}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	err = db.locked(ctx, func() error { return db.migrate(ctx) })
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// locked runs f while no other replica does. Goose has such a lock, but looks at the tables before it takes it.
func (db *database) locked(ctx context.Context, f func() error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it goes back to the pool
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", migrationLock); err != nil {
		return err
	}
	err = f()
	_, unlock := conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", migrationLock)
	return errors.Join(err, unlock)
}

func openSQLite(ctx context.Context, path string) (*database, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // C:/…
	}
	options := url.Values{
		// Readers and one writer do not wait for each other, also in different processes.
		"_journal_mode": {"WAL"},
		// In WAL mode NORMAL would lose the last commits with the power. Group commit makes the fsync of FULL affordable.
		"_synchronous":  {"FULL"},
		"_busy_timeout": {fmt.Sprint(sqliteWaits.Milliseconds())},
		// A transaction that first reads and then wants to write fails at once where another wrote meanwhile; ours write, so they wait first.
		"_txlock": {"immediate"},
	}
	dsn := url.URL{Scheme: "file", OmitHost: false, Path: slashed, RawQuery: options.Encode()}
	pool, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db := &database{DB: pool, path: path}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	if err := db.migrateTogether(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// makePrivate makes an empty file that only its owner reads, where there is none. SQLite gives the files beside it the same mode.
func makePrivate(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// migrateTogether migrates where other processes may do so at the same time. SQLite has no lock that outlives a transaction; who comes second
// fails as a whole, and then finds the work done.
func (db *database) migrateTogether(ctx context.Context) error {
	var err error
	for range openTries {
		var newer *NewerError
		if err = db.migrate(ctx); err == nil || errors.As(err, &newer) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
	return err
}

// migrate runs the migrations that are missing, each in a transaction.
func (db *database) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	dialect := goose.DialectSQLite3
	if db.postgres {
		dialect = goose.DialectPostgres
	}
	provider, err := goose.NewProvider(dialect, db.DB, dir, goose.WithTableName(schemaTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	have, known, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if have > known {
		return &NewerError{have, known}
	}
	_, err = provider.Up(ctx)
	return err
}
