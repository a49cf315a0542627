package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/postgres/sqlstate"
)

// beside reads the row of a user beside what it should be. That it can't be computed is why they are parked, or
// can't be compared.
func (c *counting) beside(ctx context.Context, t *catalog.Compiled, u settle.Key, s *Status) error {
	var is, should *string
	step := about([]settle.Key{u}, t.Compiler.Beside(), []any{&u.Source, &u.ID, &is, &should}, func() {})
	err := c.audit.look(ctx, step)
	if sqlstate.Of(err) != "" {
		step.SQL = t.Compiler.Rows()
		err = c.audit.look(ctx, step)
	}
	if sqlstate.Of(err) != "" && s.State == Parked {
		return nil
	}
	if err != nil {
		return err
	}
	row, err := catalog.ReadRow(orEmpty(is))
	if err != nil {
		return err
	}
	wanted, err := catalog.ReadRow(orEmpty(should))
	if err != nil {
		return err
	}
	s.Row = c.columns(t, row, wanted)
	for i := range s.Row { // what an expression gives may be stored in another form, which is no difference
		column := &s.Row[i]
		switch s.State {
		case Present:
			column.Differs = false
		case Different, Rewritten:
			column.Differs = slices.Contains(s.Columns, column.Name)
		default:
		}
	}
	return nil
}

// columns puts a row and what it should be side by side, in the order of the table.
func (c *counting) columns(t *catalog.Compiled, row, wanted catalog.Row) []Column {
	has := map[string]json.RawMessage{}
	for _, v := range wanted {
		has[v.Column] = v.JSON
	}
	if len(row) == 0 {
		row = wanted
		for i := range row {
			row[i].JSON = json.RawMessage("null")
		}
	}
	var list []Column
	for _, v := range row {
		should := has[v.Column]
		column := Column{v.Column, v.JSON, should, should != nil && !bytes.Equal(v.JSON, should)}
		if !c.options.Reveal {
			column.Is, column.Should = t.Mask(v.Column, column.Is), t.Mask(v.Column, column.Should)
		}
		list = append(list, column)
	}
	return list
}

func orEmpty(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// Member is a membership of a user, and how every target that follows memberships has it.
type Member struct {
	Source, ID         string
	Organization, Name string // the organisation's id and name; the name is empty if the roll has none
	Role               string
	Version            time.Time
	Deleted            bool
	Statuses           []Status
}

// membersShown is how many memberships of a user are looked at, those that are alive first.
const membersShown = 100

// Members finds the memberships of a user, and holds each against every target. Nothing is stored.
func (a *Audit) Members(ctx context.Context, source, user string, o Options) ([]Member, error) {
	const find = `select m.id, m.organization_id, coalesce(o.name, ''), coalesce(m.role, ''), m.version, m.deleted_at is not null
from rollcall.memberships m left join rollcall.organizations o on o.source = m.source and o.id = m.organization_id
where m.source = $1 and m.user_id = $2 order by m.deleted_at is not null, m.organization_id, m.id limit $3`
	var list []Member
	m := Member{Source: source}
	var version int64
	rows, _ := a.Targets.Pool.Query(ctx, find, source, user, membersShown)
	_, err := pgx.ForEachRow(rows, []any{&m.ID, &m.Organization, &m.Name, &m.Role, &version, &m.Deleted}, func() error {
		m.Version = time.UnixMicro(version).UTC()
		list = append(list, m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for the memberships of a user: %w", sqlstate.Mask(a.Targets.Pool.Explain(err)))
	}
	c := newCounting(a, o.Repair)
	c.options = o
	for i := range list {
		key := settle.Key{Roll: &event.Memberships, Source: source, ID: list[i].ID}
		if list[i].Statuses, err = c.everywhere(ctx, key); err != nil {
			return nil, fmt.Errorf("check a membership: %w", sqlstate.Mask(err))
		}
	}
	return list, nil
}
