package catalog

import (
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ownTable refuses the expressions that read the target's own table: two users who are written at
// the same moment do not see each other, so each could become "the first". It asks PostgreSQL's
// plans, which see through views; what a function reads they do not show.
func (a *attempt) ownTable() {
	for _, p := range a.compiler.Probes() {
		a.try(p.At, p.Explain, func() error {
			reads, err := a.reads(p.Alone)
			if reads {
				a.note(p.At, fmt.Sprintf("%s reads %s, the target's own table: users who are written at the same moment "+
					"don't see each other; use a default, a trigger or a job of the application", p.Name, a.target.Table))
			}
			return err
		})
	}
}

// reads reports whether a statement over the record new reads the target's table, one of its
// partitions or a table that inherits from it.
func (a *attempt) reads(statement string) (bool, error) {
	var text []byte
	explained := "explain (verbose, costs off, format json) " + statement
	err := a.conn.QueryRow(a.ctx, explained, pgx.QueryExecModeExec).Scan(&text)
	if err != nil {
		return false, err
	}
	var plan any
	if err := json.Unmarshal(text, &plan); err != nil {
		return false, fmt.Errorf("read a plan: %w", err)
	}
	var schemas, names []string
	scanned(plan, func(schema, name string) {
		if schema != "rollcall" {
			schemas, names = append(schemas, schema), append(names, name)
		}
	})
	if len(names) == 0 {
		return false, nil
	}
	var own bool
	err = a.conn.QueryRow(a.ctx, ownTableSQL, a.table.OID, schemas, names).Scan(&own)
	return own, err
}

// scanned finds the tables that a plan of "explain (verbose, format json)" reads, in all its parts.
func scanned(plan any, found func(schema, name string)) {
	switch node := plan.(type) {
	case []any:
		for _, part := range node {
			scanned(part, found)
		}
	case map[string]any:
		name, _ := node["Relation Name"].(string)
		if schema, ok := node["Schema"].(string); ok && name != "" {
			found(schema, name)
		}
		for _, part := range node {
			scanned(part, found)
		}
	}
}
