package postgres

import (
	"context"
	"fmt"
	"time"

	"rollcall/sql"
)

// replicaAge is for how long a replica that has noted itself counts as alive.
const replicaAge = 30 * time.Second

// NoteReplica notes that this replica lives and returns how many others live with another set of
// targets: each of them writes every user it hears of by its own set.
func (db *DB) NoteReplica(ctx context.Context) (others int, err error) {
	if err := db.pool.QueryRow(ctx, sql.NoteReplica, db.replica, db.fingerprint, replicaAge).Scan(&others); err != nil {
		return 0, fmt.Errorf("note this replica: %w", db.explainConnect(err))
	}
	return others, nil
}
