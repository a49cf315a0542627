package settle

import (
	"cmp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
)

// Key names a row of a roll.
type Key struct {
	Roll       *event.Roll
	Source, ID string
}

// CompareKeys is the order of locks.
func CompareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(rank(a.Roll), rank(b.Roll)), cmp.Compare(a.Source, b.Source), cmp.Compare(a.ID, b.ID))
}

func rank(r *event.Roll) int { return slices.Index(event.Rolls, r) }

// On is a statement about rollcall.users for another roll, whose table has the same columns beside its fields.
func On(r *event.Roll, sql string) string {
	if r == &event.Users {
		return sql
	}
	return strings.ReplaceAll(sql, event.Users.Table, r.Table)
}

// perRoll divides keys, which are in key order, by their rolls.
func perRoll(keys []Key) [][]Key {
	var parts [][]Key
	for len(keys) > 0 {
		n := slices.IndexFunc(keys, func(k Key) bool { return k.Roll != keys[0].Roll })
		if n < 0 {
			n = len(keys)
		}
		parts, keys = append(parts, keys[:n]), keys[n:]
	}
	return parts
}

// KeyArrays are users as two arrays.
func KeyArrays(users []Key) (sources, ids []string) {
	sources, ids = make([]string, len(users)), make([]string, len(users))
	for i, u := range users {
		sources[i], ids[i] = u.Source, u.ID
	}
	return sources, ids
}

// CollectKeys reads (source, id) of a roll and puts them in key order.
func CollectKeys(rows pgx.Rows, r *event.Roll) ([]Key, error) {
	users, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u Key, err error) {
		u.Roll = r
		err = row.Scan(&u.Source, &u.ID)
		return u, err
	})
	slices.SortFunc(users, CompareKeys)
	return users, err
}
