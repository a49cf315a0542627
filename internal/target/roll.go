package target

import (
	"slices"
	"strings"
)

// Roll describes the table whose rows targets follow. Expressions read one of its rows as the record
// new. It has a column deleted_at, null in the row of a user who is alive.
type Roll struct {
	Table   string // as SQL writes it, such as rollcall.users
	Columns []Field
	// Source and ID are the two columns that identify a row.
	Source, ID string
	// Pair is set where rows stand for a pair of others, as memberships do for an organisation and a user: a
	// key may use its columns instead of ID.
	Pair *Pair
	// Samples are values such as the columns of a key have, by column; for the ID of users each source has its
	// own (Origin.SampleID).
	Samples map[string]string
}

// Pair describes rows that stand for a pair. Several may stand for one, one after the other: of those alive
// the latest counts.
type Pair struct {
	Columns []string // what names the pair, beside Source
	Since   string   // the column that says since when a row is
}

// keyColumns are the columns that a key may use. A tombstone has them.
func (r *Roll) keyColumns() []string {
	columns := []string{r.Source, r.ID}
	if r.Pair != nil {
		columns = append(columns, r.Pair.Columns...)
	}
	return columns
}

// keyNames are keyColumns as an expression names them.
func (r *Roll) keyNames() string {
	return strings.Join(each(r.keyColumns(), func(_ int, name string) string { return "new." + name }), ", ")
}

// Field is a column of a roll.
type Field struct {
	Name, Type string
	// Trusted: a user's own client can't fill it.
	Trusted bool
	// Masked: a value tells who a person is.
	Masked bool
}

// Names are the names of the columns, in order.
func (r *Roll) Names() []string {
	return each(r.Columns, func(_ int, f Field) string { return f.Name })
}

func (r *Roll) has(column string) bool {
	return slices.ContainsFunc(r.Columns, func(f Field) bool { return f.Name == column })
}

// array is the type of an array of a column's values.
func (r *Roll) array(column string) string {
	at := slices.IndexFunc(r.Columns, func(f Field) bool { return f.Name == column })
	return r.Columns[at].Type + "[]"
}

// Record is the select list of new from a row u. The keys have collation "C"; carried into the
// application's table that would keep PostgreSQL from using the table's own index.
func (r *Roll) Record() string {
	return strings.Join(each(r.Columns, func(_ int, f Field) string {
		if slices.Contains(r.keyColumns(), f.Name) {
			return "u." + f.Name + ` collate "default" as ` + f.Name
		}
		return "u." + f.Name
	}), ", ")
}

// everyone is all rows as the record new.
func (r *Roll) everyone() string { return "(select " + r.Record() + " from " + r.Table + " u) new" }

// identity is the two columns that identify a row of a record.
func (r *Roll) identity(record string) string {
	return record + "." + r.Source + ", " + record + "." + r.ID
}

// inOrder sorts the record new as all locks are taken.
func (r *Roll) inOrder() string {
	return `order by new.` + r.Source + ` collate "C", new.` + r.ID + ` collate "C"`
}

// used returns the columns of new that an expression reads, as new.email, (new).email or a bare email.
func (r *Roll) used(sql string) []string {
	tokens, open := scan(sql)
	if open != nil {
		return nil
	}
	var used []string
	for i, t := range tokens {
		if t.kind != kindWord && t.kind != kindName || !r.has(t.text) {
			continue
		}
		bare := i == 0 || tokens[i-1].text != "." && tokens[i-1].text != ":"
		call := i+1 < len(tokens) && tokens[i+1].text == "("
		qualified := endsIn(tokens[:i], "new", ".") || endsIn(tokens[:i], "(", "new", ")", ".")
		if (bare && !call || qualified) && !slices.Contains(used, t.text) {
			used = append(used, t.text)
		}
	}
	return used
}

// endsIn reports whether the last tokens are these.
func endsIn(tokens []token, last ...string) bool {
	from := len(tokens) - len(last)
	return from >= 0 && slices.EqualFunc(tokens[from:], last, func(t token, text string) bool { return t.text == text })
}

// reads reports whether an expression reads the record new, as a whole or by column.
func (r *Roll) reads(sql string) bool {
	tokens, _ := scan(sql)
	return len(r.used(sql)) > 0 || slices.ContainsFunc(tokens, func(t token) bool { return t.text == "new" })
}
