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
// and hands elements over by their pointers.
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
	if total > 0 {
		conn.PgConn().Frontend().Send(room(total + otherBytes))
	}
	return conn.SendBatch(ctx, &queue)
}

// otherBytes is what the messages of a batch take without its arrays.
const otherBytes = 4096

// typed is set in the data of a connection whose driver asks the server for the types of parameters; otherwise it
// derives them from those of Go, and knows none of ours.
const typed = "typed parameters"

// takeArrays has a connection take arrays as they are here.
func takeArrays(conn *pgx.Conn) {
	mode := conn.Config().DefaultQueryExecMode
	if mode == pgx.QueryExecModeExec || mode == pgx.QueryExecModeSimpleProtocol {
		return
	}
	conn.PgConn().CustomData()[typed] = true
	types := conn.TypeMap()
	types.TryWrapEncodePlanFuncs = append(types.TryWrapEncodePlanFuncs, planRoomy)
}

// byPointers are the parameters of a statement with an array in the place of each slice, the first with room for all.
// It returns about how many bytes the arrays take.
func byPointers(args []any) (packed []any, bytes int) {
	packed = slices.Clone(args)
	var first *roomy
	for i, arg := range args {
		a := arrayOf(arg)
		switch {
		case a == nil:
			continue
		case first == nil:
			first = &roomy{array: a}
			packed[i] = first
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

// room is a message of no bytes, which makes room for so many in the buffer of what is to be sent.
type room int

// Frontend implements pgproto3.FrontendMessage.
func (room) Frontend() {}

// Decode implements pgproto3.FrontendMessage; nobody receives it.
func (room) Decode([]byte) error { return nil }

// Encode implements pgproto3.FrontendMessage.
func (r room) Encode(sent []byte) ([]byte, error) { return slices.Grow(sent, int(r)), nil }

// roomy is an array before which room is made in the buffer of the parameters.
type roomy struct {
	array *array
	room  int
}

// planRoomy tells the driver how a roomy array is encoded.
func planRoomy(value any) (pgtype.WrappedEncodePlanNextSetter, any, bool) {
	r, ok := value.(*roomy)
	if !ok {
		return nil, nil, false
	}
	return &roomyPlan{}, r.array, true
}

type roomyPlan struct{ array pgtype.EncodePlan }

// SetNext implements pgtype.WrappedEncodePlanNextSetter.
func (p *roomyPlan) SetNext(next pgtype.EncodePlan) { p.array = next }

// Encode implements pgtype.EncodePlan.
func (p *roomyPlan) Encode(value any, buf []byte) ([]byte, error) {
	r, _ := value.(*roomy) // planRoomy says so
	return p.array.Encode(r.array, slices.Grow(buf, r.room))
}
