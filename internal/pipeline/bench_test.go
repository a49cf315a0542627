package pipeline

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// BenchmarkSubmit has many submitters of new users, each waiting for its outcome, before a
// real database without targets. It does not wait for the disk, as every server for tests.
func BenchmarkSubmit(b *testing.B) {
	for _, each := range []int{1, 32} {
		b.Run(fmt.Sprint("perprocessor=", each), func(b *testing.B) { benchmarkSubmit(b, each) })
	}
}

func benchmarkSubmit(b *testing.B, each int) {
	db := must.Get(postgres.Open(postgres.Config{URL: pgtest.New(b), Log: slog.New(slog.DiscardHandler)}))(b)
	b.Cleanup(db.Close)
	must.Get(db.Migrate(b.Context()))(b)
	var batches atomic.Int64
	p := New(Config{Apply: db.Roll().Apply, Observe: func(int, time.Duration) { batches.Add(1) }})
	p.Start()
	b.Cleanup(func() { p.Shutdown(b.Context()) })
	var next atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(each)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id := fmt.Sprint("u", next.Add(1))
			outcome, err := p.Submit(b.Context(), event.Event{
				Source: "app", ID: id, Type: "user.created", Op: event.Upsert, UserID: id, ReceivedAt: time.Now(), Body: []byte("{}"),
				User: &event.User{Row: event.Row{Source: "app", ID: id, Version: 1}, RawUserMetaData: "{}", RawAppMetaData: "{}"},
			})
			if err != nil || outcome != event.Applied {
				b.Errorf("%s: %s, %v", id, outcome, err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/float64(batches.Load()), "events/batch")
}
