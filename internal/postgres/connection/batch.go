package connection

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Batch is statements that are sent in one round trip, with parameters that are mostly arrays. It differs from
// pgx.Batch in what it costs. The driver lets its buffers grow by a quarter at a time, so that a large parameter is
// copied over and over, and makes a copy of each element of an array. Batch makes room for all parameters at once,
// and hands elements over by their pointers. Its slices are for arrays of text, bytea, bigint, boolean and timestamptz.
type Batch []Statement

// Statement is one of a batch.
type Statement struct {
	SQL  string
	Args []any
}

// Send sends the statements, and returns their results as pgx.Conn.SendBatch does.
func (b Batch) Send(ctx context.Context, conn *pgx.Conn) pgx.BatchResults {
	var queue pgx.Batch
	total := 0
	for _, s := range b {
		args, bytes := s.Args, 0
		if conn.PgConn().CustomData()[typed] != nil {
			args, bytes = byPointers(s.Args)
		}
		queue.Queue(s.SQL, args...)
		total += bytes
	}
	if total > 0 && ctx.Err() == nil { // otherwise nothing is sent, and the room would stay
		conn.PgConn().Frontend().Send(room(total + otherBytes))
	}
	return conn.SendBatch(ctx, &queue)
}

// otherBytes is more than what the messages of a batch take beside its arrays.
const otherBytes = 4096

// typed marks a connection whose driver asks the server for the types of parameters. In the modes exec and
// simple_protocol it derives them from the types of Go, and does not know array.
const typed = "typed parameters"

// takeArrays prepares a connection for Batch.
func takeArrays(conn *pgx.Conn) {
	mode := conn.Config().DefaultQueryExecMode
	if mode == pgx.QueryExecModeExec || mode == pgx.QueryExecModeSimpleProtocol {
		return
	}
	conn.PgConn().CustomData()[typed] = true
	types := conn.TypeMap()
	types.TryWrapEncodePlanFuncs = append(types.TryWrapEncodePlanFuncs, planRoomy)
}

// byPointers puts an array in the place of each slice; the first makes room for all of them in the driver's buffer.
// It returns how many bytes the arrays take at most.
func byPointers(args []any) (packed []any, bytes int) {
	packed = slices.Clone(args)
	var first *array
	for i, arg := range args {
		a := arrayOf(arg)
		switch {
		case a == nil:
			continue
		case first == nil && !a.null: // the driver drops its buffer with a null
			first = a
			packed[i] = (*roomy)(a)
		default:
			packed[i] = a
		}
		bytes += a.bytes
	}
	if first != nil {
		first.room = bytes
	}
	return packed, bytes
}

// room is an empty message: to encode it makes room for so many bytes in the driver's buffer of what is to be sent.
type room int

// Frontend implements pgproto3.FrontendMessage.
func (room) Frontend() {}

// Decode implements pgproto3.FrontendMessage; it is never received.
func (room) Decode([]byte) error { return nil }

// Encode implements pgproto3.FrontendMessage.
func (r room) Encode(sent []byte) ([]byte, error) { return withRoom(sent, int(r)), nil }

// withRoom is slices.Grow, which under the race detector takes the memory twice.
func withRoom(buf []byte, bytes int) []byte {
	return append(make([]byte, 0, len(buf)+bytes), buf...)
}

// roomy is an array before which room is made. The driver hands its buffer of parameters to nothing but the plan by
// which it encodes one, so this type has a plan of its own.
type roomy array

// planRoomy wraps the plan for an array.
func planRoomy(value any) (pgtype.WrappedEncodePlanNextSetter, any, bool) {
	r, ok := value.(*roomy)
	if !ok {
		return nil, nil, false
	}
	return &roomyPlan{}, (*array)(r), true
}

type roomyPlan struct{ array pgtype.EncodePlan }

// SetNext implements pgtype.WrappedEncodePlanNextSetter.
func (p *roomyPlan) SetNext(next pgtype.EncodePlan) { p.array = next }

// Encode implements pgtype.EncodePlan.
func (p *roomyPlan) Encode(value any, buf []byte) ([]byte, error) {
	r, _ := value.(*roomy) // planRoomy takes no other
	return p.array.Encode((*array)(r), withRoom(buf, r.room))
}
