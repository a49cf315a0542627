package config

import (
	"strings"

	"rollcall/internal/target"
)

// columns fills a map of column to expression, in the file's order.
func (d *decoder) columns(n *node, path string) []target.Assignment {
	if !d.is(n, mapping, path, "a map of column: expression") {
		return nil
	}
	if len(n.entries) == 0 {
		d.problems.Add(n.pos, "%s is empty; add a column, or leave it out", path)
	}
	var out []target.Assignment
	cut := false // the entry before was cut by a comma: its rest is the same mistake
	for _, e := range n.entries {
		at := join(path, e.key)
		if e.value.blank && e.value.flow {
			if !cut {
				d.problems.Add(e.pos, "%s has no expression; %s", at, hintFlow)
			}
			continue
		}
		before := len(d.problems)
		if complaint := columnName(e.key); complaint != "" {
			d.problems.Add(e.pos, "%s: %q %s", path, e.key, complaint)
		}
		d.places[at] = e.pos
		expr, ok := d.expr(e.value, at)
		if ok {
			out = append(out, target.Assignment{Column: e.key, Expr: expr})
		}
		cut = len(d.problems) > before
	}
	return out
}

func columnName(name string) string {
	if name == "" {
		return "is no name of a column; name one"
	}
	return column(name)
}

// onDelete fills the fate of a deleted user's row.
func (d *decoder) onDelete(n *node, path string) target.OnDelete {
	const wanted = "delete, keep or a map of columns to set"
	if n.kind == mapping {
		return target.OnDelete{Action: target.DeleteSet, Set: d.columns(n, path)}
	}
	if !d.is(n, text, path, wanted) {
		return target.OnDelete{}
	}
	value, ok := d.expand(n, path)
	action := target.Action(value)
	if ok && action != target.DeleteRow && action != target.DeleteKeep {
		d.problems.Add(n.pos, "%s: %s is not known here; write %s", path, label(n, false), wanted)
		return target.OnDelete{}
	}
	return target.OnDelete{Action: action}
}

// expr takes a value as SQL. A text that YAML took the quotes from stays as it is:
// only one who knows the columns can tell.
func (d *decoder) expr(n *node, path string) (target.Expr, bool) {
	switch n.kind {
	case refused:
		return target.Expr{}, false
	case null, number, boolean:
		return target.Expr{SQL: n.text, Written: n.text, At: n.pos.String()}, true
	case mapping, list:
		d.problems.Add(n.pos, "%s is %s; write one SQL expression, in double quotes if it starts with { or [", path, n.kind)
		return target.Expr{}, false
	default: // a text
	}
	value, ok := d.expand(n, path)
	if !ok {
		return target.Expr{}, false
	}
	sql := strings.TrimSpace(value)
	if sql == "" {
		d.problems.Add(n.pos, "%s is empty; write an SQL expression, such as null or \"''\"", path)
		return target.Expr{}, false
	}
	if what := unbalanced(sql); what != "" {
		d.problems.Add(n.pos, "%s: %s in this expression; %s", path, what, cutHint(n))
		return target.Expr{}, false
	}
	return target.Expr{SQL: sql, Written: strings.TrimSpace(n.text), At: n.pos.String()}, true
}

// cutHint says how YAML may have cut an expression that misses its end.
func cutHint(n *node) string {
	switch {
	case n.style == plainStyle && n.flow:
		return "inside { } a comma ends a value and \" #\" starts a comment: write one column per line (block style), or " + hintQuotes
	case n.style == plainStyle:
		return "if it looks whole in the file, YAML took \" #\" for a comment: " + hintQuotes
	case n.style == singleQuoted:
		return "YAML reads '' inside single quotes as one ': " + hintQuotes
	}
	return "add its partner, or take it out"
}

// unbalanced says which quote or bracket of an SQL text has no partner, or "".
func unbalanced(sql string) string {
	switch mark, opens := target.Unmatched(sql); {
	case mark == "":
		return ""
	case opens:
		return mark + " is never closed"
	default:
		return mark + " closes nothing"
	}
}
