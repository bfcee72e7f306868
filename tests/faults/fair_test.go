package faults

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aim/internal/account"
)

// TestFairness: a key that floods the server neither keeps another from a place, nor makes it wait for all that it has queued itself. What counts is how
// many of the flood's answers end while a request of the other key waits and runs: in order of arrival it would be all that wait.
func TestFairness(t *testing.T) {
	s := open(t, options{slots: 8, queue: 256, pause: 500 * time.Microsecond})
	_, flooder := s.key(t, "flood", account.Grant{})
	_, modest := s.key(t, "modest", account.Grant{})
	const body = `{"messages": [{"role": "user", "content": "x"}], "max_tokens": 8}`
	var ended, refused atomic.Int64
	var over atomic.Bool
	var flood sync.WaitGroup
	for range 180 {
		flood.Go(func() {
			for !over.Load() {
				switch status, text, err := ask(s.url, flooder, chatPath, body); {
				case err == nil && status == http.StatusOK:
					ended.Add(1)
				case err == nil && status == http.StatusTooManyRequests:
					refused.Add(1)
					time.Sleep(5 * time.Millisecond)
				default:
					t.Errorf("the flood: status %d, %v: %s", status, err, text)
				}
			}
		})
	}
	waiting := 0
	eventually(t, "many of the flood wait", func() bool {
		waiting = s.engine.Stats().Queued
		return waiting >= 100
	})
	var passed []int64
	for range pick(20, 100) {
		before := ended.Load()
		if status, text := s.post(t, modest, chatPath, body); status != http.StatusOK {
			t.Fatalf("the modest key: status %d, %s", status, text)
		}
		passed = append(passed, ended.Load()-before)
	}
	over.Store(true)
	flood.Wait()
	slices.Sort(passed)
	p95 := passed[len(passed)*95/100]
	// A turn's wait and its own time are two times as many as there are slots; the rest is for processors that are busy with the flood's clients.
	if median := passed[len(passed)/2]; median > int64(waiting/3) || p95 > int64(waiting*3/4) {
		t.Errorf("the modest key's requests end before %d of the flood's, 95 %% of them before %d, while %d wait: %v", median, p95, waiting, passed)
	}
	if refused.Load() == 0 {
		t.Error("the flood found room for all that it sent")
	}
	const section = "Fairness"
	figure(section, "requests of the flood that wait", "%d", waiting)
	figure(section, "answers of the flood that end during one request of another key", "median %d, 95 %% %d, most %d (in order of arrival: %d)",
		passed[len(passed)/2], p95, passed[len(passed)-1], waiting)
	figure(section, "answers and refusals of the flood", "%s", fmt.Sprintf("%d, %d", ended.Load(), refused.Load()))
}
