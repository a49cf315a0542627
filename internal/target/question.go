package target

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// What only PostgreSQL knows about a target's expressions: the questions to it, and what its answers
// mean. The plan of an expression is the expression as PostgreSQL would compute it.

// Question is a statement to run, and how to judge what comes of it.
type Question struct {
	At  string
	SQL string
	// Code is that of a refusal, but for a missing right, and of a judgement.
	Code Code
	// Explain says in words what is wrong when the statement is refused.
	Explain func(Refusal) string
	// Judge says what is wrong with the answer, or ""; nil when any answer will do.
	Judge func(answer string) string
}

// Probe asks whether an expression is one, by itself, so that a finding has its place. Its answer
// does not matter.
type Probe struct {
	Question
	// Name is what the expression is, for messages.
	Name string
	// Alone computes the expression and nothing else.
	Alone string
	// Text is a statement with one column. If that is a text, Warning is what to warn of. "" when it
	// need not be asked.
	Text    string
	Warning Finding
}

// Probes are those of all expressions, over all users.
func (c *Compiler) Probes() []Probe {
	var list []Probe
	for _, a := range c.assignments() {
		p := Probe{Name: "column " + Quote(a.Column) + ": " + a.Expr.abridged(), Alone: c.alone(c.value(a))}
		// In a condition PostgreSQL itself refuses what is no single value: aggregates, window
		// functions, sets.
		p.Question = Question{
			At: a.Expr.At, SQL: p.Alone + " where (" + c.value(a) + ") is null", Code: ExpressionRefused, Explain: c.explainColumn(a),
		}
		if c.takesText(a) {
			p.Text, p.Warning = c.alone(enclosed(a.Expr.SQL)), c.textWarning(a)
		}
		list = append(list, p)
	}
	if c.Where != nil {
		where := enclosed(c.Where.SQL)
		list = append(list, Probe{
			Question: Question{
				At: c.Where.At, SQL: "select from " + c.roll.everyone() + " where " + where, Code: ExpressionRefused, Explain: c.explainWhere,
			},
			Name: "where: " + c.Where.abridged(), Alone: c.alone(where),
		})
	}
	return list
}

// Together are the probes of all expressions in two statements: what PostgreSQL accepts in these it accepts in
// each. The first has the place of SQL, and is "" where there is a condition, which needs its own; the second that
// of Alone. "is null" of a row has all its values computed as far as a plan does; "and" stops at the first that
// is never null.
func (c *Compiler) Together() (accepted, alone string) {
	values := each(c.assignments(), func(_ int, a Assignment) string { return c.value(a) })
	if c.Where != nil {
		return "", c.alone(strings.Join(append(values, enclosed(c.Where.SQL)), ", "))
	}
	list := strings.Join(values, ", ")
	return c.alone("row("+list+")") + " where row(" + list + ") is null", c.alone(list)
}

// alone computes a value for all users.
func (c *Compiler) alone(value string) string {
	return "select " + value + " from " + c.roll.everyone()
}

// takesText reports whether a column that is no text is given what users write themselves. A cast in
// the expression, which PostgreSQL sees, says that it is meant.
func (c *Compiler) takesText(a Assignment) bool {
	if c.table.Column(a.Column).Textual || !c.roll.reads(a.Expr.SQL) {
		return false
	}
	used := c.roll.used(a.Expr.SQL)
	return len(used) == 0 || slices.ContainsFunc(used, func(name string) bool {
		return !slices.ContainsFunc(c.roll.Columns, func(f Field) bool { return f.Name == name && f.Trusted })
	})
}

func (c *Compiler) textWarning(a Assignment) Finding {
	column := c.table.Column(a.Column)
	return Finding{Code: TextCast, Target: c.Name, At: a.Expr.At, Severity: Warning, What: fmt.Sprintf(
		"column %s is %s and %s gives a text: each user whose text is no %[2]s is parked; "+
			"compute a %[2]s, or write the cast to say that it is meant",
		Quote(column.Name), column.Type, a.Expr.abridged())}
}

// KeyPlans are the questions about the columns of the key, and others that hold the id, for an id such as each
// source gives: they are answered by a plan. The record has only the columns that a key may use, and PostgreSQL must be able
// to compute the key once and for all: what depends on the moment or on other rows would make a second
// row of a user.
func (c *Compiler) KeyPlans() []Question {
	var list []Question
	keys := c.keyAssignments()
	for _, o := range c.From {
		row := strings.Join(c.roll.sample(o), ", ")
		for _, a := range c.idsBeside(keys) {
			sample := fmt.Sprintf("select %s from (select %s) new", c.value(a), row)
			list = append(list, Question{At: a.Expr.At, SQL: sample, Code: KeyType, Explain: c.explainID(o, a)})
		}
		for _, k := range keys {
			sample := fmt.Sprintf("select %s from (select %s) new", c.value(k), row)
			judge := func(planned string) string { return c.judgeKey(k, planned) }
			list = append(list, Question{k.Expr.At, sample, KeyType, c.explainKey(o, k), judge})
		}
	}
	return list
}

// idsBeside are the columns beside the key that are given a user's id as it is.
func (c *Compiler) idsBeside(keys []Assignment) []Assignment {
	return slices.DeleteFunc(slices.Concat(c.Set, c.OnInsert), func(a Assignment) bool {
		return strings.TrimSpace(a.Expr.SQL) != "new."+c.roll.ID || slices.ContainsFunc(keys, func(k Assignment) bool { return k.Column == a.Column })
	})
}

func (c *Compiler) judgeKey(k Assignment, planned string) string {
	switch {
	case strings.HasPrefix(planned, "NULL::"):
		return fmt.Sprintf("key column %s: %s is null; a unique index does not keep nulls apart", Quote(k.Column), k.Expr.abridged())
	case !isConstant(planned):
		return fmt.Sprintf("key column %s: %s may give another value for the same user; "+
			"a key uses only %s, constants and immutable functions",
			Quote(k.Column), k.Expr.abridged(), c.roll.keyNames())
	}
	return ""
}

// sampleID is an id such as a source gives.
func (r *Roll) sampleID(o Origin) string { return cmp.Or(r.Samples[r.ID], o.SampleID) }

// sample is the select list of a row such as a source gives, with the columns that a key may use.
func (r *Roll) sample(o Origin) []string {
	return each(r.keyColumns(), func(_ int, name string) string {
		value := cmp.Or(r.Samples[name], o.SampleID)
		if name == r.Source {
			value = o.Source
		}
		return Literal(value) + "::text as " + name
	})
}

// MomentPlans find the expressions that give another value each time without any change
// of the user, such as now(): those that read no column of new and are no constant. They are answered
// by a plan, which the compiler keeps in mind.
func (c *Compiler) MomentPlans() []Question {
	var list []Question
	for _, a := range slices.Concat(c.Set, c.OnDelete.Set) {
		if c.roll.reads(a.Expr.SQL) {
			continue
		}
		judge := func(planned string) string {
			c.volatile[a.Expr.SQL] = !isConstant(planned)
			return ""
		}
		list = append(list, Question{a.Expr.At, "select " + c.value(a), ExpressionRefused, c.explainColumn(a), judge})
	}
	return list
}

// Unmarked says, behind the answers to MomentPlans, why a row's deleted form can't be told from
// another; "" when it can.
func (c *Compiler) Unmarked() (at, what string) {
	if len(c.OnDelete.Set) == 0 || slices.ContainsFunc(c.OnDelete.Set, func(a Assignment) bool {
		return !c.volatile[a.Expr.SQL] || !c.table.Column(a.Column).NotNull
	}) {
		return "", ""
	}
	return c.OnDelete.Set[0].Expr.At, "on_delete sets only what is another value each time, in columns that are never null: " +
		"nothing would tell that a row is in its deleted form; add a column such as deleted_at"
}

// DeletedNulls ask for a tombstone whether on_delete makes a column null that must not be. The answer
// is "true" where it does.
func (c *Compiler) DeletedNulls() []Question {
	known := each(c.roll.keyColumns(), func(_ int, name string) string { return `"` + name + `": "-", ` })
	tombstone := `'{` + strings.Join(known, "") + `"deleted_at": "now"}'`
	var list []Question
	for _, a := range c.OnDelete.Set {
		if !c.table.Column(a.Column).NotNull {
			continue
		}
		sql := "select (" + c.value(a) + ") is null from (select " + c.roll.Record() +
			" from pg_catalog.jsonb_populate_record(null::" + c.roll.Table + ", " + tombstone + ") u) new"
		judge := func(isNull string) string {
			if isNull != "true" {
				return ""
			}
			return fmt.Sprintf("on_delete sets %s to null, but the column is not null; give it another value, or run: alter table %s alter column %[1]s drop not null",
				Quote(a.Column), QuoteTable(c.Table))
		}
		list = append(list, Question{a.Expr.At, sql, OnDeleteNull, c.explainColumn(a), judge})
	}
	return list
}

// Evaluation computes one expression for the users of a batch.
type Evaluation struct {
	Column string // "" for where
	SQL    string
}

// Evaluations are those of where and of each column, for the users that the column is written for.
// The types of the columns have their modifiers. A cast to such a type would cut; the input of JSON
// refuses, as an assignment does.
func (c *Compiler) Evaluations(types map[string]string) []Evaluation {
	var list []Evaluation
	if c.Where != nil {
		list = append(list, Evaluation{SQL: "select " + enclosed(c.Where.SQL) + " is null\n" + c.batch()})
	}
	add := func(who string, columns []Assignment) {
		for _, a := range columns {
			assigned := fmt.Sprintf("select x.v from "+
				"pg_catalog.jsonb_to_record(pg_catalog.jsonb_build_object('v', %s)) as x (v %s)", c.value(a), types[a.Column])
			list = append(list, Evaluation{a.Column, "select (" + assigned + ") is null\n" + c.batch() + "\nwhere " + who})
		}
	}
	add(c.alive(), slices.Concat(c.Set, c.OnInsert))
	add(c.gone(), c.OnDelete.Set)
	return list
}
