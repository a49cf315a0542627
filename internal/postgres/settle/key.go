package settle

import (
	"cmp"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Key names a row of the roll.
type Key struct{ Source, ID string }

// CompareKeys is the order of locks.
func CompareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.ID, b.ID))
}

// KeyArrays are users as two arrays.
func KeyArrays(users []Key) (sources, ids []string) {
	sources, ids = make([]string, len(users)), make([]string, len(users))
	for i, u := range users {
		sources[i], ids[i] = u.Source, u.ID
	}
	return sources, ids
}

// CollectKeys reads (source, id) and puts them in key order.
func CollectKeys(rows pgx.Rows) ([]Key, error) {
	users, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u Key, err error) {
		err = row.Scan(&u.Source, &u.ID)
		return u, err
	})
	slices.SortFunc(users, CompareKeys)
	return users, err
}
