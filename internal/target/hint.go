package target

import (
	"fmt"
	"slices"
	"strings"
)

// What PostgreSQL refuses in a target, in words that name the column and what to do.

// Refusal is PostgreSQL's answer to a question.
type Refusal struct {
	Code, Message string
	// Grant says which grant gives the right that is missing. It is asked for a refusal of class
	// 42501 only.
	Grant func() string
}

const insufficientPrivilege = "42501"

// ExplainStatement says why a statement of the target is refused.
func (c *Compiler) ExplainStatement(r Refusal) string {
	what := "its statement is refused: " + c.words(r)
	if r.Code == insufficientPrivilege {
		what += "; " + r.Grant()
	}
	return what
}

// ExplainDefault says why the default of a column is refused.
func (c *Compiler) ExplainDefault(r Refusal, column, expression string) string {
	remedy := fmt.Sprintf("correct it, or run: alter table %s alter column %s drop default", QuoteTable(c.Table), Quote(column))
	if r.Code == insufficientPrivilege {
		remedy = r.Grant()
	}
	return fmt.Sprintf("column %s: %s in its default %s; %s", Quote(column), c.words(r), expression, remedy)
}

// explainColumn says what PostgreSQL refuses in an expression, of which column.
func (c *Compiler) explainColumn(a Assignment) func(Refusal) string {
	return func(r Refusal) string {
		return fmt.Sprintf("column %s: %s in %s; %s",
			Quote(a.Column), c.words(r), a.Expr.abridged(), c.hint(r, a.Column, a.Expr.SQL))
	}
}

func (c *Compiler) explainWhere(r Refusal) string {
	return fmt.Sprintf("where: %s in %s; %s", c.words(r), c.Where.abridged(), c.hint(r, "", c.Where.SQL))
}

// explainKey says what PostgreSQL refuses in a column of the key, of which source's ids.
func (c *Compiler) explainKey(o Origin, k Assignment) func(Refusal) string {
	return func(r Refusal) string {
		if r.Code == "42703" {
			return fmt.Sprintf("key column %s: %s; a key uses only %s and constants",
				Quote(k.Column), c.words(r), c.roll.keyNames())
		}
		return fmt.Sprintf("key column %[1]s can't hold the ids of source %s, such as %s: %s; leave the source out of from, "+
			"or run: alter table %s alter column %[1]s type text", Quote(k.Column), o.Source, c.roll.sampleID(o), c.words(r), QuoteTable(c.Table))
	}
}

// explainID says that a column beside the key can't hold the ids of a source.
func (c *Compiler) explainID(o Origin, a Assignment) func(Refusal) string {
	return func(r Refusal) string {
		return fmt.Sprintf("column %s can't hold the ids of source %s, such as %s: %s; "+
			"an id of the application's own is, for instance, gen_random_uuid() in on_insert", Quote(a.Column), o.Source, c.roll.sampleID(o), c.words(r))
	}
}

// hint says what to do about a refused expression.
func (c *Compiler) hint(r Refusal, column, sql string) string {
	if meant := c.roll.elsewhere(sql); meant != "" {
		return meant
	}
	switch r.Code {
	case "42703", "42P01":
		return "the record new has " + strings.Join(c.roll.Names(), ", ")
	case "42846", "42804":
		if col := c.table.Column(column); col != nil {
			return "the expression must give a " + col.Type
		}
	case "22P02":
		if col := c.table.Column(column); col != nil && len(col.Labels) > 0 {
			return labels(col, sql)
		}
	case insufficientPrivilege:
		return r.Grant()
	case "42883":
		return "name a function with its schema unless it is in pg_catalog or public, and mind the types of its arguments"
	}
	return "write one SQL expression over the record new"
}

// labels says which values an enum has, and which of them an expression may mean.
func labels(col *Column, sql string) string {
	said := col.Type + " has " + ListLabels(col.Labels)
	if tokens, _ := scan(sql); len(tokens) == 1 && tokens[0].kind == kindText {
		if meant := Nearest(strings.Trim(tokens[0].text, "'"), col.Labels); meant != "" {
			return "did you mean " + meant + "? " + said
		}
	}
	return said
}

// shownLabels is how many labels of an enum are listed.
const shownLabels = 10

// ListLabels names the labels of an enum, the first ten of many.
func ListLabels(labels []string) string {
	if len(labels) > shownLabels {
		labels = append(slices.Clone(labels[:shownLabels]), "…")
	}
	return strings.Join(labels, ", ")
}

// namesElsewhere are fields that expressions pasted from a trigger, from Clerk's or from
// Supabase's own JSON use, and what they are called here.
var namesElsewhere = map[string]string{
	"image_url": "avatar_url", "profile_image_url": "avatar_url", "picture": "avatar_url", "name": "full_name",
	"user_metadata": "raw_user_meta_data", "unsafe_metadata": "raw_user_meta_data",
	"app_metadata": "raw_app_meta_data", "public_metadata": "raw_app_meta_data",
	"email_address": "email", "email_addresses": "email", "phone_number": "phone", "phone_numbers": "phone",
	"user_id": "id", "confirmed_at": "email_confirmed_at", "given_name": "first_name", "family_name": "last_name",
}

// elsewhere says what a field of another record is called in new, or "".
func (r *Roll) elsewhere(sql string) string {
	tokens, _ := scan(sql)
	for i, t := range tokens {
		if i < 2 || tokens[i-1].text != "." || tokens[i-2].text != "new" || r.has(t.text) {
			continue
		}
		if here := namesElsewhere[strings.ToLower(t.text)]; r.has(here) {
			return "it is new." + here + " here"
		}
		if t.text == "role" && r.has("raw_app_meta_data") {
			return "a provider knows no role of yours: give a constant in on_insert, such as \"'customer'\", " +
				"or read one from new.raw_app_meta_data->>'role'"
		}
		if meant := Nearest(t.text, r.Names()); meant != "" {
			return "did you mean new." + meant + "?"
		}
	}
	return ""
}

// words is PostgreSQL's own message, with its code, unless a variable was put into an expression: it
// may be quoted there.
func (c *Compiler) words(r Refusal) string {
	exprs := each(c.assignments(), func(_ int, a Assignment) Expr { return a.Expr })
	if c.Where != nil {
		exprs = append(exprs, *c.Where)
	}
	if slices.ContainsFunc(exprs, func(e Expr) bool { return e.Written != "" && e.Written != e.SQL }) {
		return "refused by PostgreSQL (" + r.Code + ")"
	}
	return fmt.Sprintf("%s (%s)", r.Message, r.Code)
}
