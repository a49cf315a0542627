package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/target"
	"rollcall/sql"
)

// Captured is how a source's capture is doing, at a glance.
type Captured struct {
	Source string
	// Installed: the trigger is there, fires, and is for this source.
	Installed bool
	// Oldest is for how many seconds the oldest of the source's changes has waited; 0 when none
	// does.
	Oldest float64
}

// Captures looks at several captures in one statement that is cheap however much waits, for
// those who look often. One without its table is not installed.
func (db *DB) Captures(ctx context.Context, list []Capture) ([]Captured, error) {
	var sources, schemas, names []string
	for _, c := range list {
		schema, name := target.SplitTable(c.Table)
		sources, schemas, names = append(sources, c.Source), append(schemas, schema), append(names, name)
		db.heed(c.Table)
	}
	ids, err := db.lookForIDs(ctx)
	if err != nil {
		return nil, err
	}
	statement := fmt.Sprintf(sql.Captures, alsoOfIDs(ids, "union all (select greatest(0, extract(epoch from pg_catalog.clock_timestamp() - o.at)) "+
		"from rollcall_provider.outbox o where o.source = w.source order by o.id limit 1)"))
	rows, _ := db.pool.Query(ctx, statement, sources, schemas, names)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Captured])
	if err != nil {
		return nil, fmt.Errorf("look at the captures: %w", db.pool.Explain(err))
	}
	return found, nil
}
