package server

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"aim/llama"
)

// sink is a client that takes everything and keeps nothing.
type sink struct {
	header http.Header
	bytes  int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(p []byte) (int, error) { s.bytes += len(p); return len(p), nil }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Flush()                      {}

// SetWriteDeadline is what a connection has.
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkStream is what a streamed token costs without model and network: eight streams at once through engine, handler and
// encoding, over the fake.
func BenchmarkStream(b *testing.B) {
	const streams, answer = 8, 256
	for name, fields := range map[string]string{
		"chat": `"temperature": 0.8`, "chat,logprobs": `"temperature": 0.8, "logprobs": true, "top_logprobs": 5`,
	} {
		b.Run(name, func(b *testing.B) {
			s := start(b, options{engine: llama.Config{Slots: streams, Context: 512, Batch: 64, Queue: streams}})
			handler := s.api.Handler()
			body := chatBody("babble", fmt.Sprintf(`%s, "max_tokens": %d, "stream": true, "ignore_eos": true`, fields, answer))
			var before, after runtime.MemStats
			var from, to syscall.Rusage
			runtime.ReadMemStats(&before)
			mustUsage(b, &from)
			for b.Loop() {
				var all sync.WaitGroup
				for range streams {
					all.Go(func() {
						req, err := http.NewRequestWithContext(context.Background(), "POST", chatPath, strings.NewReader(body))
						if err != nil {
							b.Error(err)
							return
						}
						w := &sink{header: http.Header{}}
						handler.ServeHTTP(w, req)
						if w.bytes < answer*100 {
							b.Errorf("%d bytes came", w.bytes)
						}
					})
				}
				all.Wait()
			}
			mustUsage(b, &to)
			runtime.ReadMemStats(&after)
			tokens := float64(b.N * streams * answer)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(to.Utime.Nano()-from.Utime.Nano()+to.Stime.Nano()-from.Stime.Nano())/1e3/tokens, "cpu-µs/token")
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/tokens, "allocs/token")
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/tokens, "B/token")
		})
	}
}

// mustUsage reads the processor time of this process, which others on the machine do not lengthen as they do the clock's.
func mustUsage(b *testing.B, u *syscall.Rusage) {
	b.Helper()
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, u); err != nil {
		b.Fatal(err)
	}
}
