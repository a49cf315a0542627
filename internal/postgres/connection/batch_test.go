package connection

import (
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

// values are parameters with the types of their columns.
func values() map[string][]any {
	s, n, yes := "a \"b\",{c}\\", int64(-1<<63), true
	at := time.Date(2026, 2, 3, 4, 5, 6, 789_000, time.FixedZone("", 3600))
	return map[string][]any{
		"text[]":        {[]string{"", "null", s, "ü"}, []*string{nil, &s, new(string)}, []string{}, []string(nil), []*string(nil), []*string{nil}},
		"bytea[]":       {[][]byte{nil, {}, {0, 255}, []byte(s)}, [][]byte{}, [][]byte(nil)},
		"bigint[]":      {[]int64{0, n}, []*int64{nil, &n, new(int64)}, []int64{}, []*int64(nil)},
		"boolean[]":     {[]*bool{nil, &yes, new(bool)}, []*bool{}},
		"timestamptz[]": {[]time.Time{at, {}}, []*time.Time{nil, &at}, []time.Time{}, []*time.Time(nil)},
		"uuid[]":        {[]string{"6f1c9d1e-8f0a-4c39-9a53-0d8a3f8b7f01"}, []string(nil)},
		"text":          {s, nil, (*string)(nil)},
		"integer":       {int32(5), 6},
	}
}

// A batch says the same as one of the driver, in each of its modes.
func TestBatchSaysTheSame(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			conn := must.Get(open(t, url+"&default_query_exec_mode="+mode).Acquire(t.Context()))(t)
			defer conn.Release()
			known := mode != "exec" && mode != "simple_protocol"
			must.Equal(t, conn.Conn().PgConn().CustomData()[typed] != nil, known, "types of parameters are known")
			var ours Batch
			var theirs pgx.Batch
			for typed, list := range values() {
				for _, v := range list {
					sql := "select ($1::" + typed + ")::text, ($2::text[])::text, $3::" + typed + " is null"
					args := []any{v, []string{"x", strings.Repeat("y", 9000)}, v}
					ours = append(ours, Statement{sql, args})
					theirs.Queue(sql, args...)
				}
			}
			want := answers(t, conn.SendBatch(t.Context(), &theirs), len(ours))
			for range 2 { // the second time with the plans of the first
				if diff := cmp.Diff(want, answers(t, ours.Send(t.Context(), conn.Conn()), len(ours))); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

type answer struct {
	First, Second *string
	Null          bool
}

func answers(t *testing.T, results pgx.BatchResults, n int) []answer {
	t.Helper()
	var all []answer
	for range n {
		rows := must.Get(results.Query())(t)
		all = append(all, must.Get(pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[answer]))(t))
	}
	must.Do(t, results.Close())
	return all
}

// To send a large batch takes its size of memory twice, as parameters and as messages, and nothing for each element.
func TestBatchTakesRoomOnce(t *testing.T) {
	conn := must.Get(open(t, pgtest.New(t)).Acquire(t.Context()))(t)
	defer conn.Release()
	bodies, names := make([][]byte, 64), make([]*string, 64)
	sent := 0
	for i := range bodies {
		name := strings.Repeat("n", 100)
		bodies[i], names[i] = make([]byte, 4000), &name
		sent += len(bodies[i])
	}
	args := []any{bodies}
	sql := "select $1::bytea[]"
	for range 20 {
		args = append(args, names)
		sql += ", $" + strconv.Itoa(len(args)) + "::text[]"
		sent += 64 * 100
	}
	batch := Batch{{"select 1 from (" + sql + ") s", args}}
	send := func() { must.Do(t, batch.Send(t.Context(), conn.Conn()).Close()) }
	send() // the driver prepares the statement
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	send()
	runtime.ReadMemStats(&after)
	const most, mostAllocations = 2.5, 400
	if took := float64(after.TotalAlloc-before.TotalAlloc) / float64(sent); took > most {
		t.Errorf("%d bytes of parameters take %.1f times as many bytes of memory, want %.1f at most", sent, took, most)
	}
	if n := after.Mallocs - before.Mallocs; n > mostAllocations {
		t.Errorf("%d arrays of %d elements take %d allocations, want %d at most", len(args), len(bodies), n, mostAllocations)
	}
}
