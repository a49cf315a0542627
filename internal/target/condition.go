package target

import "fmt"

// Condition is a condition over the record new that is asked about one user who is in no roll yet. It belongs to no
// target: At is where it stands, Name what its findings call it.
type Condition struct {
	Expr

	Name string
}

// Lint says what can be seen to be wrong with a condition without a database.
func (c Condition) Lint(roll *Roll) []Finding {
	found := findings{target: c.Name}
	found.add(ExpressionInvalid, c.At, roll.lintExpr(c.Expr))
	return found.list
}

// Statement returns whether the condition is met by the user whose columns are the JSON object $1. Null is not met.
func (c Condition) Statement(roll *Roll) string {
	return "select " + enclosed(c.SQL) + " is true from " + roll.one()
}

// Question is the statement as PostgreSQL is asked whether it is one: in a condition it refuses what is no boolean,
// and no single value.
func (c Condition) Question(roll *Roll) Question {
	return Question{
		At: c.At, SQL: "select from " + roll.one() + " where " + enclosed(c.SQL), Code: ExpressionRefused,
		Explain: func(r Refusal) string {
			words := fmt.Sprintf("%s (%s)", r.Message, r.Code)
			if c.Written != "" && c.Written != c.SQL { // a variable may be quoted there
				words = "refused by PostgreSQL (" + r.Code + ")"
			}
			compiler := Compiler{Target: &Target{}, roll: roll, table: &Table{}}
			return words + " in " + c.abridged() + "; " + compiler.hint(r, "", c.SQL)
		},
	}
}

// one is the user of a JSON object ($1) as the record new.
func (r *Roll) one() string {
	return "(select " + r.Record() + " from pg_catalog.jsonb_populate_record(null::" + r.Table + ", $1::jsonb) u) new"
}
