package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/target"
)

// Compiled is a target as statements. They are "" while it is out of service because it doesn't fit its
// table.
type Compiled struct {
	*target.Target
	target.Statements
	Roll     *event.Roll // that the target follows
	OID      uint32
	Parents  []uint32
	Lockable bool // the role may lock the table
	Triggers bool // the application has some on it
	// Outage is why the target is out of service; nil when it works.
	Outage   *Outage
	Compiler *target.Compiler // it was compiled by
	// Found is what is wrong with it, faults and warnings.
	Found []target.Finding
	State State // before it was compiled
}

// Outage is why a target as a whole can't be written.
type Outage struct{ State, Message string }

// LockTable is the statement that takes the lock that an insert takes: it waits for a session that holds
// the table exclusively, and holds up no session that reads or writes it.
func (t *Compiled) LockTable() string {
	return "lock table " + target.QuoteTable(t.Table) + " in row exclusive mode"
}

// References reports whether the table of the target references that of another one.
func (t *Compiled) References(o *Compiled) bool {
	return o.OID != t.OID && slices.Contains(t.Parents, o.OID)
}

// Mask is a value of a column for people to see: masked if the column may tell who a person is.
func (t *Compiled) Mask(column string, value json.RawMessage) json.RawMessage {
	if t.Compiler == nil || t.Compiler.Personal(column) {
		return event.MaskJSON(value)
	}
	return value
}

// Compile compiles a target, whose state was read just before.
func Compile(ctx context.Context, conn *pgx.Conn, t *target.Target, before State) (*Compiled, []target.Finding, error) {
	c, found, err := checkTarget(ctx, conn, t)
	if c != nil {
		c.State = before
	}
	return c, found, err
}

// rolls are the rolls as targets see them. Their columns are those of the record new that
// expressions may use.
var rolls = map[*event.Roll]*target.Roll{}

func init() {
	for _, r := range event.Rolls {
		rolls[r] = forTargets(r)
	}
}

// RollOf is the roll that a target follows, as its expressions see it.
func RollOf(t *target.Target) *target.Roll { return rolls[event.RollNamed(t.Roll)] }

func forTargets(r *event.Roll) *target.Roll {
	columns := []target.Field{{Name: "source", Type: "text", Trusted: true}, {Name: "id", Type: "text", Trusted: true}}
	for i := range r.Fields {
		f := &r.Fields[i]
		columns = append(columns, target.Field{Name: f.Name, Type: string(f.Type), Trusted: f.Trusted, Masked: f.Masked})
	}
	columns = append(columns, target.Field{Name: "deleted_at", Type: "timestamptz"})
	roll := &target.Roll{Table: r.Table, Source: "source", ID: "id", Columns: columns}
	switch r {
	case &event.Organizations:
		roll.Samples = map[string]string{"id": sampleOrganization}
	case &event.Memberships:
		roll.Pair = &target.Pair{Columns: []string{"organization_id", "user_id"}, Since: "created_at"}
		roll.Samples = map[string]string{"id": sampleMembership, "organization_id": sampleOrganization}
	default:
	}
	return roll
}

// Ids such as Clerk gives.
const (
	sampleOrganization = "org_2abcdefghijklmnopqrstuvwxyz"
	sampleMembership   = "orgmem_2abcdefghijklmnopqrstuvwxyz"
)

// State is what the catalog says about a target's table, and whatever else the target's
// statements depend on.
type State struct {
	Hash  string            // of parts
	Seen  string            // the snapshot it was read with
	parts map[string]string // by thing, such as "column born"; nil when only the hash is known
}

// ReadStates reads what the catalog says about the tables of targets, by target, in one query.
func ReadStates(ctx context.Context, on connection.Querier, targets ...target.Target) (map[string]State, error) {
	var names, schemas, tables []string
	parts := map[string]map[string]string{}
	for i := range targets {
		t := &targets[i]
		schema, table := target.SplitTable(t.Table)
		names, schemas, tables = append(names, t.Name), append(schemas, schema), append(tables, table)
		parts[t.Name] = map[string]string{}
	}
	seen := ""
	rows, _ := on.Query(ctx, catalogSQL, names, schemas, tables)
	var target, thing, state string
	_, err := pgx.ForEachRow(rows, []any{&target, &thing, &state}, func() error {
		if target == "" {
			seen = state
		} else {
			parts[target][thing] = state
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the targets' tables from the catalog: %w", err)
	}
	states := map[string]State{}
	for name, p := range parts {
		states[name] = State{Hash: hashOf(p), Seen: seen, parts: p}
	}
	return states, nil
}

func hashOf(parts map[string]string) string {
	sum := sha256.New()
	for _, thing := range slices.Sorted(maps.Keys(parts)) {
		fmt.Fprintf(sum, "%q %q\n", thing, parts[thing])
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// ChangesTo lists the things that are not as they were.
func (s State) ChangesTo(now State) []string {
	if s.parts == nil {
		return []string{"not known: it changed before this start"}
	}
	var list []string
	for thing, state := range now.parts {
		before, had := s.parts[thing]
		was, _, _ := strings.Cut(before, "|")
		is, _, _ := strings.Cut(state, "|")
		switch {
		case !had:
			list = append(list, thing+" is new")
		case before != state && strings.HasPrefix(thing, "column ") && was != is:
			list = append(list, fmt.Sprintf("%s was %s, is %s", thing, was, is))
		case before != state:
			list = append(list, thing+" has changed")
		}
	}
	for thing := range s.parts {
		if _, has := now.parts[thing]; !has {
			list = append(list, thing+" is gone")
		}
	}
	slices.Sort(list)
	return list
}
