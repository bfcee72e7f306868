package ledger

import (
	"context"
	"fmt"
	"time"

	"aim/internal/account"
)

// up says that the database took what it was given last.
func (l *Ledger) up() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure == nil
}

// goDown notes that the database failed.
func (l *Ledger) goDown(err error) {
	l.mu.Lock()
	first := l.failure == nil
	l.failure = err
	l.mu.Unlock()
	if first {
		l.options.Log.Error("the accounts' database fails: usage goes to a journal until it is back", "folder", l.options.Spool, "error", err)
	}
}

// call wakes the drainer, which tries until nothing waits any more. What waits must be there by then: an attempt with nothing to write tells little.
func (l *Ledger) call() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// spool keeps records in the journal, or else in memory.
func (l *Ledger) spool(usages []account.Usage) error {
	err := l.journal.append(usages)
	l.mu.Lock()
	defer l.mu.Unlock()
	first := err != nil && l.refusal == nil
	l.refusal = err
	if err == nil {
		return nil
	}
	if first {
		l.options.Log.Error("the journal for usage cannot be written either: usage is kept in memory", "folder", l.options.Spool, "error", err)
	}
	if len(l.memory)+len(usages) > l.options.Memory {
		l.lost += int64(len(usages))
		return fmt.Errorf("%w: %d records wait in memory, which may hold %d; journal: %w", ErrLost, len(l.memory), l.options.Memory, err)
	}
	l.memory = append(l.memory, usages...)
	return fmt.Errorf("%w: journal: %w", ErrVolatile, err)
}

// drain is the drainer's goroutine: from a failure on it tries again and again, and then brings all that waits into the database. It ends with ctx.
func (l *Ledger) drain(ctx context.Context) {
	defer close(l.drained)
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		for !l.attempt(ctx) || l.waiting() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(l.options.Retry):
			}
		}
	}
}

// waiting says that records wait for the database.
func (l *Ledger) waiting() bool {
	s := l.Status()
	return s.Database != nil || s.Spooled > 0 || s.Volatile > 0
}

// attempt tries the database with the first records that wait, and brings in the others if it works.
func (l *Ledger) attempt(ctx context.Context) bool {
	err := l.insert(ctx, l.head())
	if ctx.Err() != nil {
		return false // Close makes its own attempt
	}
	if err != nil {
		l.goDown(err)
		l.settle()
		return false
	}
	l.mu.Lock()
	was := l.failure != nil
	l.failure, l.refusal = nil, nil
	l.mu.Unlock()
	if was {
		l.options.Log.Info("the accounts' database works again")
	}
	if err := l.pour(ctx); err != nil {
		if ctx.Err() == nil {
			l.goDown(err)
		}
		return false
	}
	return true
}

// pour brings what is in memory and in journals into the database. While it runs, new records go there directly.
func (l *Ledger) pour(ctx context.Context) error {
	for {
		chunk := l.volatile()
		if len(chunk) == 0 {
			break
		}
		if err := l.insert(ctx, chunk); err != nil {
			return err
		}
		l.dropVolatile(len(chunk))
	}
	return l.journal.drain(func(usages []account.Usage) error { return l.insert(ctx, usages) })
}

// head is the first records that wait.
func (l *Ledger) head() []account.Usage {
	if chunk := l.volatile(); len(chunk) > 0 {
		return chunk
	}
	return l.journal.head()
}

// settle moves what is in memory to the journal where that works again.
func (l *Ledger) settle() {
	for {
		chunk := l.volatile()
		if len(chunk) == 0 {
			return
		}
		err := l.journal.append(chunk)
		l.mu.Lock()
		l.refusal = err
		l.mu.Unlock()
		if err != nil {
			return
		}
		l.dropVolatile(len(chunk))
	}
}

// volatile copies the oldest records in memory. Only the drainer removes some, so they stay the oldest.
func (l *Ledger) volatile() []account.Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]account.Usage(nil), l.memory[:min(batchSize, len(l.memory))]...)
}

func (l *Ledger) dropVolatile(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.memory = append([]account.Usage(nil), l.memory[n:]...)
}

// takeOver brings journals of processes that have ended into the database.
func (l *Ledger) takeOver(ctx context.Context) error {
	if err := l.journal.adopt(); err != nil {
		return err
	}
	if l.journal.count() == 0 {
		return nil
	}
	err := l.journal.drain(func(usages []account.Usage) error { return l.insert(ctx, usages) })
	if err != nil {
		l.goDown(err)
		l.call()
	}
	return err
}
