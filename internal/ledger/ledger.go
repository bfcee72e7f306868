// Package ledger keeps accounts in a database: API keys, of which it stores hashes, and usage, which it records exactly once and durably. The
// database is a SQLite file or PostgreSQL. While it cannot be reached, keys found lately are still known, and usage waits in a journal.
package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"aim/internal/account"
	"aim/internal/state"
)

// Errors of [Ledger.Record] and [Ledger.Healthy].
var (
	// ErrVolatile says that usage is kept in memory only, because neither database nor journal can be written. It is written as soon as one
	// can be, and lost if the process ends before.
	ErrVolatile = errors.New("usage is kept in memory only")
	// ErrLost says that usage was not recorded: memory was full, too.
	ErrLost = errors.New("usage was not recorded")
	// ErrClosed says that the ledger was closed.
	ErrClosed = errors.New("the ledger is closed")
)

// Options say how a ledger behaves. The zero value works.
type Options struct {
	// Spool is the folder of the journals that hold usage while the database cannot; the folder of a SQLite file, else that for state, by
	// default. Journals are told apart by database, so that several may share a folder.
	Spool string
	// Existing makes a SQLite file that does not exist an error, which is fs.ErrNotExist; otherwise it is made.
	Existing bool
	// Timeout bounds how long the database is waited for; 0 is 2 s. SQLite waits for other writers at least as long.
	Timeout time.Duration
	// Retry is how often a database that failed is tried again; 0 is 1 s. For that long lookups of keys do not wait for it.
	Retry time.Duration
	// Remember is how long a key that was found goes on being known while the database cannot be asked; 0 is 10 minutes.
	Remember time.Duration
	// Memory bounds the records that are kept in memory where not even a journal can be written; 0 is 10 000.
	Memory int
	// Now is the clock for expiry; nil is time.Now.
	Now func() time.Time
	// Log gets what operators should know; nil is slog's default.
	Log *slog.Logger
}

func (o *Options) setDefaults(db *database) error {
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Second
	}
	if o.Retry <= 0 {
		o.Retry = time.Second
	}
	if o.Remember <= 0 {
		o.Remember = 10 * time.Minute
	}
	if o.Memory <= 0 {
		o.Memory = 10_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Spool == "" && !db.postgres {
		o.Spool = filepath.Dir(db.path)
	}
	if o.Spool == "" {
		dir, err := state.Dir()
		if err != nil {
			return err
		}
		o.Spool = dir
	}
	return nil
}

// Ledger is an open database. Its methods may be called from many goroutines at once.
//
// One goroutine writes usage ([Ledger.write]): what arrives while it commits goes into the next transaction together. Another one ([Ledger.drain])
// brings journals into the database when it is back.
type Ledger struct {
	db      *database
	options Options
	cache   cache
	journal *journal

	// queue leads to the writer. It is buffered so that what arrives during a commit is found together; a full one makes Record wait, and
	// the writer waits for nobody but the database, with a time limit.
	queue chan pending
	// closing is held for reading by who sends to the queue, for writing by who closes it.
	closing sync.RWMutex
	closed  bool
	written chan struct{} // closed when the writer has ended

	// wake tells the drainer that there is something to do. One place is enough: a drainer that is told looks at everything.
	wake    chan struct{}
	stop    context.CancelFunc
	drained chan struct{} // closed when the drainer has ended

	anyKey atomic.Bool // a key was seen; keys are never deleted

	mu       sync.Mutex
	failure  error // of the database, nil while it works
	refusal  error // of the journal, nil while it works
	memory   []account.Usage
	lost     int64
	restsTil time.Time // until then lookups do not wait for the database,
	restsFor error     // because of this
}

// Open opens a database, makes or updates its tables, and takes over journals that ended processes left behind. dsn is the path of a SQLite
// file, which is made where it does not exist, or postgres://user:password@host:port/database?options, as libpq reads it. The error is
// [account.ErrUnavailable] where the database cannot be reached, and a *[NewerError] where a newer program has made its tables.
func Open(ctx context.Context, dsn string, options Options) (*Ledger, error) {
	if err := CheckDSN(dsn); err != nil {
		return nil, err
	}
	if options.Existing && !isPostgres(dsn) {
		if _, err := os.Stat(dsn); err != nil {
			return nil, fmt.Errorf("no database: %w", err)
		}
	}
	db, err := openDatabase(ctx, dsn)
	if err != nil {
		if newer := (*NewerError)(nil); errors.As(err, &newer) {
			return nil, err
		}
		return nil, fmt.Errorf("open the accounts: %w", unavailable(ctx, err))
	}
	if err := options.setDefaults(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	id, err := db.identity(ctx)
	if err != nil {
		return nil, errors.Join(unavailable(ctx, err), db.Close())
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &Ledger{
		db:      db,
		options: options,
		journal: newJournal(options.Spool, id, options.Log),
		queue:   make(chan pending, 4*batchSize),
		written: make(chan struct{}),
		wake:    make(chan struct{}, 1),
		stop:    stop,
		drained: make(chan struct{}),
	}
	if err := l.takeOver(ctx); err != nil {
		l.options.Log.Warn("usage that an ended process left in a journal waits there", "folder", options.Spool, "error", err)
	}
	go l.write()
	go l.drain(background)
	return l, nil
}

// identity is a random name that a database keeps. Journals carry it, so that none is read into another database.
func (db *database) identity(ctx context.Context) (string, error) {
	const ask = `SELECT value FROM aim_meta WHERE name = 'id'`
	var id string
	err := db.QueryRowContext(ctx, ask).Scan(&id)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, err // a database that cannot be written can be opened
	}
	if _, err := db.ExecContext(ctx, `INSERT INTO aim_meta (name, value) VALUES ('id', $1) ON CONFLICT DO NOTHING`, random(12)); err != nil {
		return "", err
	}
	err = db.QueryRowContext(ctx, ask).Scan(&id) // another process may have been first
	return id, err
}

// Status tells how a ledger does.
type Status struct {
	// Database is why the database did not take usage, nil while it does.
	Database error
	// Spooled counts records in this process's journals, Volatile those in memory only, and Lost those that found no place at all.
	Spooled, Volatile int
	Lost              int64
}

// Status returns how the ledger does, for metrics and readiness.
func (l *Ledger) Status() Status {
	spooled := l.journal.count()
	l.mu.Lock()
	defer l.mu.Unlock()
	return Status{Database: l.failure, Spooled: spooled, Volatile: len(l.memory), Lost: l.lost}
}

// Healthy returns nil while usage can be recorded durably, in the database or a journal, else why not; the error is [ErrVolatile], and
// [account.ErrUnavailable] for those who need not know more. A server should then refuse new work. It recovers by itself.
func (l *Ledger) Healthy() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil && l.refusal != nil {
		return fmt.Errorf("%w: %w: database: %w; journal: %w", account.ErrUnavailable, ErrVolatile, l.failure, l.refusal)
	}
	return nil
}

// Close waits until what was given to Record is written, tries once more to bring what waits in journals into the database, and closes it.
// What still waits stays in its journal, and the next Open takes it over. The error is [ErrLost] for records that were in memory only.
func (l *Ledger) Close() error {
	l.closing.Lock()
	if l.closed {
		l.closing.Unlock()
		return nil
	}
	l.closed = true
	close(l.queue)
	l.closing.Unlock()
	<-l.written
	l.stop()
	<-l.drained
	if l.waiting() {
		l.attempt(context.Background())
	}
	l.mu.Lock()
	left := len(l.memory)
	l.mu.Unlock()
	var err error
	if left > 0 {
		err = fmt.Errorf("%w: %d records were in memory only", ErrLost, left)
	}
	return errors.Join(err, l.journal.close(), l.db.Close())
}

// unavailable marks an error of the database as such, unless it is the caller who left.
func unavailable(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", account.ErrUnavailable, err)
}
