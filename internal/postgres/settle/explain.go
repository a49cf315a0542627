package settle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

const (
	// explainTime is the default of Targets.ExplainTime. It is short because the users of a batch are locked meanwhile.
	explainTime = 500 * time.Millisecond
	// explainUsers is how many users with the same message are tried; what they have in common
	// holds for the others. Trying 256 of them would take longer than refusing them.
	explainUsers = 32
)

// explain names in the reason of each refused user what PostgreSQL's message leaves out.
func (s *separation) explain(ctx context.Context) error {
	for _, t := range s.targets {
		var own []Refusal
		var at []int
		for i, r := range s.refused {
			if r.target == t.Name && !r.outage {
				own, at = append(own, r), append(at, i)
			}
		}
		if err := s.all.ExplainRefusals(ctx, s.conn, t, own); err != nil {
			return err
		}
		for i, r := range own {
			s.refused[at[i]].message = r.message
		}
	}
	return nil
}

// ExplainRefusals adds the column or the trigger to the messages of users that a target refuses. It runs
// in the transaction that has tried the users, and changes nothing in it. What can't be found out in
// time is left out.
func (ts *Targets) ExplainRefusals(ctx context.Context, conn *pgx.Conn, t *catalog.Compiled, refused []Refusal) error {
	if len(refused) == 0 || t.Compiler == nil {
		return nil
	}
	if _, err := conn.Exec(ctx, "savepoint reason"); err != nil {
		return err
	}
	r := &explanations{
		conn: conn, target: t, until: time.Now().Add(ts.ExplainTime),
		columns: make([][]string, len(refused)), where: make([]bool, len(refused)),
	}
	err := r.ask(ctx, refused)
	if errors.As(err, new(*pgconn.PgError)) && !conn.IsClosed() {
		err = nil
	}
	if _, back := conn.Exec(ctx, "rollback to savepoint reason"); err == nil {
		err = back
	}
	if err != nil {
		return err
	}
	for i := range refused {
		refused[i].message = r.message(&refused[i], i)
	}
	return nil
}

// explanations are what was found out about refused users of a target, by their places in the list.
type explanations struct {
	conn    *pgx.Conn
	target  *catalog.Compiled
	until   time.Time
	catalog map[string]columnType
	against map[string][]string   // columns of constraints
	places  map[string]placeNames // functions
	columns [][]string            // whose expression fails
	where   []bool                // where fails
}

type columnType struct {
	name   string // with its modifier
	labels []string
}

type placeNames struct {
	function string
	triggers []string // of the target's table that call it
}

func (r *explanations) ask(ctx context.Context, refused []Refusal) error {
	limits := []any{connection.Milliseconds(askingLock), connection.Milliseconds(time.Until(r.until) * 2 / 5)}
	if _, err := r.conn.Exec(ctx, setTimeouts, limits...); err != nil {
		return err
	}
	if err := r.names(ctx, refused); err != nil {
		return err
	}
	return r.expressions(ctx, refused)
}

// names reads from the catalog what the refusals name.
func (r *explanations) names(ctx context.Context, refused []Refusal) error {
	var against, places []string
	for _, x := range refused {
		against = append(against, x.against)
		if strings.Contains(x.place, "(") { // as to_regprocedure wants it
			places = append(places, x.place)
		}
	}
	r.catalog, r.against, r.places = map[string]columnType{}, map[string][]string{}, map[string]placeNames{}
	var name string
	var kind columnType
	rows, _ := r.conn.Query(ctx, reasonColumnsSQL, r.target.OID)
	_, err := pgx.ForEachRow(rows, []any{&name, &kind.name, &kind.labels}, func() error {
		r.catalog[name] = kind
		return nil
	})
	if err != nil {
		return err
	}
	var columns []string
	rows, _ = r.conn.Query(ctx, reasonAgainstSQL, r.target.OID, slices.Compact(slices.Sorted(slices.Values(against))))
	_, err = pgx.ForEachRow(rows, []any{&name, &columns}, func() error {
		r.against[name] = columns
		return nil
	})
	if err != nil {
		return err
	}
	var place placeNames
	rows, _ = r.conn.Query(ctx, reasonPlacesSQL, r.target.OID, slices.Compact(slices.Sorted(slices.Values(places))))
	_, err = pgx.ForEachRow(rows, []any{&name, &place.function, &place.triggers}, func() error {
		r.places[name] = place
		return nil
	})
	return err
}

// expressions evaluates each expression by itself for the users who may fail in one.
func (r *explanations) expressions(ctx context.Context, refused []Refusal) error {
	open := map[Key]int{}
	groups := map[string][]int{} // who is refused in the same words
	for i, x := range refused {
		known := r.against[x.against] != nil || len(r.places[x.place].triggers) > 0
		if known || x.verdict != "" || slices.Contains(maybeEarly, x.state) || sqlstate.ClassOfState(x.state) != sqlstate.Row {
			continue
		}
		words := x.state + x.message
		if groups[words] = append(groups[words], i); len(groups[words]) <= explainUsers {
			open[x.User] = i
		}
	}
	defer r.share(groups)
	types := map[string]string{}
	for name, kind := range r.catalog {
		types[name] = kind.name
	}
	for _, e := range r.target.Compiler.Evaluations(types) {
		failed, err := r.fails(ctx, e.SQL, open, refused)
		if err != nil {
			return err
		}
		for _, i := range failed {
			if e.Column != "" {
				r.columns[i] = append(r.columns[i], e.Column)
				continue
			}
			r.where[i] = true
			delete(open, refused[i].User)
		}
	}
	return nil
}

// share takes what the first of a group have in common for the others, too.
func (r *explanations) share(groups map[string][]int) {
	for _, group := range groups {
		tried := group[:min(len(group), explainUsers)]
		first := group[0]
		differs := func(i int) bool {
			return r.where[i] != r.where[first] || !slices.Equal(r.columns[i], r.columns[first])
		}
		if slices.ContainsFunc(tried, differs) {
			continue
		}
		for _, i := range group[len(tried):] {
			r.where[i], r.columns[i] = r.where[first], r.columns[first]
		}
	}
}

// fails returns the places of those open users for which a statement fails with the SQLSTATE they were
// refused with.
func (r *explanations) fails(ctx context.Context, statement string, open map[Key]int, refused []Refusal) ([]int, error) {
	if time.Now().After(r.until) {
		return nil, nil
	}
	var users []Key
	for u := range open {
		users = append(users, u)
	}
	slices.SortFunc(users, CompareKeys)
	found, err := RunIsolated(ctx, r.conn, Piece{Target: r.target, Statement: statement}, users)
	var list []int
	for _, f := range found {
		if i := open[f.User]; f.state == refused[i].state {
			list = append(list, i)
		}
	}
	return list, err
}

// message is a user's reason with what was found out.
func (r *explanations) message(x *Refusal, i int) string {
	message := x.message
	if place := r.places[x.place]; place.function != "" {
		where := "function " + place.function
		if len(place.triggers) > 0 {
			where = named("trigger", place.triggers) + " (" + where + ")"
		}
		if said, ok := strings.CutPrefix(message, sqlstate.RaisedBy); ok {
			message = where + said
		} else {
			message = where + ": " + message
		}
	}
	columns := r.columns[i]
	switch {
	case r.where[i]:
		return "where: " + message
	case len(r.against[x.against]) > 0:
		return message + " (" + named("column", r.against[x.against]) + ")"
	case len(columns) == 0:
		return message
	}
	if labels := r.catalog[columns[0]].labels; len(labels) > 0 && x.state == sqlstate.InvalidText {
		message += "; it has " + target.ListLabels(labels)
	}
	return named("column", columns) + ": " + message
}

// named is a noun with one name or several.
func named(noun string, names []string) string {
	if len(names) > 1 {
		noun += "s"
	}
	return noun + " " + target.QuoteAll(names)
}
