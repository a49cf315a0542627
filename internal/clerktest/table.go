package clerktest

import (
	"cmp"
	"slices"
	"time"
)

// table is what an instance has of one kind, and all that it ever had.
type table[T any] struct {
	rows  map[string]*record[T]
	order []*record[T] // by (created_at, id); what is deleted stays while there is a lag
}

// record is all that was ever known of one thing.
type record[T any] struct {
	id      string
	created time.Time
	states  []state[T] // by time; the last one is the present
}

type state[T any] struct {
	since   time.Time
	value   T
	deleted bool
}

// asOf is the state at a moment; nil when it was not there.
func (r *record[T]) asOf(at time.Time) *T {
	for i := len(r.states) - 1; i >= 0; i-- {
		if s := &r.states[i]; !s.since.After(at) {
			if s.deleted {
				return nil
			}
			return &s.value
		}
	}
	return nil
}

// present is the present state, nil when deleted or never there.
func (r *record[T]) present() *T {
	if r == nil || r.states[len(r.states)-1].deleted {
		return nil
	}
	return &r.states[len(r.states)-1].value
}

// shown is the state that the API knows, nil when it knows none.
func (r *record[T]) shown(lag time.Duration) *T {
	if r == nil || lag == 0 { // whatever a test's clock says
		return r.present()
	}
	return r.asOf(time.Now().Add(-lag))
}

func byCreation[T any](a, b *record[T]) int {
	return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.id, b.id))
}

// put creates a row, or replaces the one with that id.
func (t *table[T]) put(id string, created time.Time, value T) {
	if t.rows == nil {
		t.rows = map[string]*record[T]{}
	}
	if old := t.rows[id]; old != nil {
		t.forget(old)
	}
	since := created // one that was made in the past shows as of then
	if now := millis(time.Now()); since.After(now) {
		since = now
	}
	r := &record[T]{id: id, created: created, states: []state[T]{{since: since, value: value}}}
	t.rows[id] = r
	at, _ := slices.BinarySearchFunc(t.order, r, byCreation)
	t.order = slices.Insert(t.order, at, r)
}

// change appends a state; false when there is no such row.
func (t *table[T]) change(id string, change func(*T)) bool {
	r := t.rows[id]
	if r.present() == nil {
		return false
	}
	value := *r.present()
	change(&value)
	r.states = append(r.states, state[T]{since: time.Now(), value: value})
	return true
}

// delete removes a row; false when there was none.
func (t *table[T]) delete(id string, lag time.Duration) bool {
	r := t.rows[id]
	if r.present() == nil {
		return false
	}
	r.states = append(r.states, state[T]{since: time.Now(), value: *r.present(), deleted: true})
	if lag == 0 {
		t.forget(r)
	}
	return true
}

// forget takes a record out of the lists; its last state is kept for webhooks.
func (t *table[T]) forget(r *record[T]) {
	if at, found := slices.BinarySearchFunc(t.order, r, byCreation); found {
		t.order = slices.Delete(t.order, at, at+1)
	}
}

// all are the rows as they are, by creation.
func (t *table[T]) all() []T {
	var all []T
	for _, r := range t.order {
		if value := r.present(); value != nil {
			all = append(all, *value)
		}
	}
	return all
}

// last is the newest known state, deleted or not; nil when there was never one.
func (t *table[T]) last(id string) *T {
	r := t.rows[id]
	if r == nil {
		return nil
	}
	return &r.states[len(r.states)-1].value
}

// window is the part of a list that a page shows.
type window struct {
	from, offset, limit int
	newest              bool
	lag                 time.Duration
	hidden              func(id string) bool
	total               func(int) int
}

// count is how many rows there are that the API knows.
func (t *table[T]) count(lag time.Duration, listed func(*T) bool) int {
	n := 0
	for _, r := range t.order {
		if value := r.shown(lag); value != nil && listed(value) {
			n++
		}
	}
	return n
}

// page are the rows in a window, of those that are listed.
func (t *table[T]) page(w window, listed func(*T) bool) []*T {
	page := []*T{}
	for i := w.from; i < len(t.order) && len(page) < w.limit; i++ {
		r := t.order[i]
		if w.newest {
			r = t.order[len(t.order)-1-i]
		}
		value := r.shown(w.lag)
		if value == nil || !listed(value) || w.hidden != nil && w.hidden(r.id) {
			continue
		}
		if w.offset > 0 {
			w.offset--
			continue
		}
		page = append(page, value)
	}
	return page
}

func every[T any](*T) bool { return true }

// touched is the updated_at of a change, which counts on unless the change set it itself.
func touched(before, after time.Time) time.Time {
	if !after.Equal(before) {
		return after
	}
	return slices.MaxFunc([]time.Time{millis(time.Now()), before.Add(time.Millisecond)}, time.Time.Compare)
}

func millis(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
