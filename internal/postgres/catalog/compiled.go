package catalog

import (
	"context"

	"rollcall/internal/event"
	"rollcall/internal/target"

	"github.com/jackc/pgx/v5"
)

// Compiled is a target as statements. They are "" while it is out of service because it doesn't fit its
// table.
type Compiled struct {
	*target.Target
	target.Statements
	OID      uint32
	Parents  []uint32
	Lockable bool // the role may lock the table
	Triggers bool // the application has some on it
	// Outage is why the target is out of service; nil when it works.
	Outage   *Outage
	Compiler *target.Compiler // it was compiled by
	State    State            // before it was compiled
}

// Outage is why a target as a whole can't be written.
type Outage struct{ State, Message string }

// LockTable waits for an exclusive lock on the table, and does not hold up who reads or writes it.
func (t *Compiled) LockTable() string {
	return "lock table " + target.QuoteTable(t.Table) + " in row exclusive mode"
}

// Compile compiles a target and notes what the catalog said just before.
func Compile(ctx context.Context, conn *pgx.Conn, t *target.Target) (*Compiled, []target.Finding, error) {
	states, err := ReadStates(ctx, conn, *t)
	if err != nil {
		return nil, nil, err
	}
	c, found, err := checkTarget(ctx, conn, t)
	if c != nil {
		c.State = states[t.Name]
	}
	return c, found, err
}

// RollOfUsers is rollcall.users as targets see it. Its columns are those of the record new that
// expressions may use.
var RollOfUsers = forTargets(&event.Users)

func forTargets(r *event.Roll) *target.Roll {
	columns := []target.Field{{Name: "source", Type: "text", Trusted: true}, {Name: "id", Type: "text", Trusted: true}}
	for i := range r.Fields {
		f := &r.Fields[i]
		columns = append(columns, target.Field{Name: f.Name, Type: string(f.Type), Trusted: f.Trusted})
	}
	columns = append(columns, target.Field{Name: "deleted_at", Type: "timestamptz"})
	return &target.Roll{Table: r.Table, Source: "source", ID: "id", Columns: columns}
}
