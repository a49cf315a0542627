package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/history"
	"rollcall/internal/postgres/settle"
)

// Change is what a replay would do to a row of a target.
type Change struct {
	Target string `json:"target"`
	Source string `json:"source"`
	// ID is the user's, the organisation's or the membership's, as Roll says.
	ID   string `json:"id"`
	Roll string `json:"roll"`
	// Action is insert, update or delete; adopt where the user takes over a row that has no key.
	Action  string         `json:"action"`
	Columns []ColumnChange `json:"columns"`
}

// ColumnChange is a column of a row before and after, as JSON; null where there is no row, too.
type ColumnChange struct {
	Column string          `json:"column"`
	Old    json.RawMessage `json:"old"`
	New    json.RawMessage `json:"new"`
}

// Foreseen is what a replay would do: the outcome of each event, in their order, and the changes of targets' rows.
type Foreseen struct {
	Results []Result `json:"events"`
	Changes []Change `json:"changes"`
	// Remarks say which rows a target would park, and of which targets the rows can't be read.
	Remarks []string `json:"remarks,omitempty"`
}

// dryEvents is how many events a dry run applies in one transaction, whose rows live events wait for: fewer than a
// batch has, and some 100 ms.
const dryEvents = 128

// DryRun does what Events does in transactions that are rolled back, and returns what it would change. Many events
// take several transactions, none of which sees what another would have brought.
func (r Replay) DryRun(ctx context.Context, events []history.Event) (*Foreseen, error) {
	all := &Foreseen{}
	rows := map[rowOf]int{} // a row's last change counts
	for page := range pages(events, dryEvents) {
		items, err := r.decode(ctx, page)
		if err != nil {
			return nil, err
		}
		dry, err := r.DB.Targets().DryRun(ctx, func(undone *settle.Targets) error {
			return submit(ctx, items, r.DB.Roll().On(undone).Apply)
		})
		if err == nil {
			err = r.findCurrent(ctx, items)
		}
		if err != nil {
			return nil, err
		}
		for i := range items {
			items[i].conclude()
			all.Results = append(all.Results, items[i].Result)
		}
		if err := r.add(all, rows, dry); err != nil {
			return nil, err
		}
	}
	all.Changes = slices.DeleteFunc(all.Changes, func(c Change) bool { return len(c.Columns) == 0 })
	return all, nil
}

// rowOf names the row of a target.
type rowOf struct {
	target string
	key    settle.Key
}

// add takes over what a transaction would change.
func (r Replay) add(all *Foreseen, at map[rowOf]int, dry *settle.DryRun) error {
	for i := range dry.Rows {
		row := &dry.Rows[i]
		c, err := r.changeOf(row)
		if err != nil {
			return err
		}
		of := rowOf{row.Target, row.Key}
		n, had := at[of]
		if !had {
			n, at[of] = len(all.Changes), len(all.Changes)
			all.Changes = append(all.Changes, c)
		}
		all.Changes[n] = c
	}
	for i := range dry.Refused {
		f := &dry.Refused[i]
		all.Remarks = append(all.Remarks, fmt.Sprintf("%s: %s of %s would be parked: %s", f.Target(), f.User.ID, f.User.Source, f.Words()))
	}
	for _, target := range slices.Sorted(maps.Keys(dry.Unread)) {
		all.Remarks = append(all.Remarks, fmt.Sprintf("%s: its rows can't be read: %s", target, dry.Unread[target]))
	}
	return nil
}

// changeOf compares a row before and after.
func (r Replay) changeOf(row *settle.DryRow) (Change, error) {
	c := Change{Target: row.Target, Source: row.Key.Source, ID: row.Key.ID, Roll: row.Key.Roll.Name, Action: "update"}
	switch {
	case row.Adopted:
		c.Action = "adopt"
	case row.Before == "":
		c.Action = "insert"
	case row.After == "":
		c.Action = "delete"
	}
	before, err := catalog.ReadRow(row.Before)
	if err != nil {
		return c, err
	}
	after, err := catalog.ReadRow(row.After)
	if err != nil {
		return c, err
	}
	columns := after
	if len(columns) == 0 {
		columns = before
	}
	t := r.DB.Targets().Named(row.Target)
	for _, v := range columns {
		is, becomes := before.Of(v.Column), after.Of(v.Column)
		if row.Adopted && t != nil && slices.Contains(t.Key, v.Column) {
			is = json.RawMessage("null")
		}
		if bytes.Equal(is, becomes) {
			continue
		}
		if !r.Reveal && t != nil {
			is, becomes = t.Mask(v.Column, is), t.Mask(v.Column, becomes)
		}
		c.Columns = append(c.Columns, ColumnChange{v.Column, is, becomes})
	}
	return c, nil
}
