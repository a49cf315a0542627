package connection

import (
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// array is an array parameter. Its elements are pointers, nil for null: of any other element the driver makes a copy.
type array struct {
	length  int
	null    bool
	at      func(i int) any
	element any // one of their type, by which the driver plans
	bytes   int // it takes no more
	room    int // of roomy: how many bytes to make room for
}

// Dimensions implements pgtype.ArrayGetter.
func (a *array) Dimensions() []pgtype.ArrayDimension {
	if a.null {
		return nil
	}
	return []pgtype.ArrayDimension{{Length: int32(a.length), LowerBound: 1}} //nolint:gosec // memory bounds it
}

// Index implements pgtype.ArrayGetter.
func (a *array) Index(i int) any { return a.at(i) }

// IndexType implements pgtype.ArrayGetter.
func (a *array) IndexType() any { return a.element }

// arrayOf is the array of a slice's elements; nil for another value, which stays as it is.
func arrayOf(value any) *array {
	switch v := value.(type) {
	case []string:
		return newArray(v, func(i int) *text { return (*text)(&v[i]) }, func(s string) int { return len(s) })
	case []*string:
		return newArray(v, func(i int) *text { return (*text)(v[i]) }, lengthOf)
	case [][]byte:
		return newArray(v, func(i int) *bytea { return (*bytea)(&v[i]) }, func(b []byte) int { return len(b) })
	case []int64:
		return newArray(v, func(i int) *bigint { return (*bigint)(&v[i]) }, nil)
	case []*int64:
		return newArray(v, func(i int) *bigint { return (*bigint)(v[i]) }, nil)
	case []*bool:
		return newArray(v, func(i int) *boolean { return (*boolean)(v[i]) }, nil)
	case []time.Time:
		return newArray(v, func(i int) *timestamptz { return (*timestamptz)(&v[i]) }, nil)
	case []*time.Time:
		return newArray(v, func(i int) *timestamptz { return (*timestamptz)(v[i]) }, nil)
	}
	return nil
}

func lengthOf(s *string) int {
	if s == nil {
		return 0
	}
	return len(*s)
}

// newArray makes the array of a slice. The length of an element is that of its text, nil for a fixed one.
func newArray[S, E any](slice []S, at func(i int) *E, length func(S) int) *array {
	const header, element = 20, 12 // at most, in bytes: before the elements, and of one of a fixed size with its length
	a := &array{
		length: len(slice), null: slice == nil, at: func(i int) any { return at(i) },
		element: new(E), bytes: header + element*len(slice),
	}
	if length != nil {
		for _, s := range slice {
			a.bytes += length(s)
		}
	}
	return a
}

// The types of elements, as the driver takes them.
type (
	text        string
	bytea       []byte
	bigint      int64
	boolean     bool
	timestamptz time.Time
)

// TextValue implements pgtype.TextValuer.
func (t *text) TextValue() (pgtype.Text, error) {
	return pgtype.Text{String: string(*t), Valid: true}, nil
}

// BytesValue implements pgtype.BytesValuer.
func (b *bytea) BytesValue() ([]byte, error) { return *b, nil }

// Int64Value implements pgtype.Int64Valuer.
func (n *bigint) Int64Value() (pgtype.Int8, error) {
	return pgtype.Int8{Int64: int64(*n), Valid: true}, nil
}

// BoolValue implements pgtype.BoolValuer.
func (b *boolean) BoolValue() (pgtype.Bool, error) {
	return pgtype.Bool{Bool: bool(*b), Valid: true}, nil
}

// TimestamptzValue implements pgtype.TimestamptzValuer.
func (t *timestamptz) TimestamptzValue() (pgtype.Timestamptz, error) {
	return pgtype.Timestamptz{Time: time.Time(*t), Valid: true}, nil
}
