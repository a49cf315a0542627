package target

import "strings"

// Quote is a name in SQL.
func Quote(name string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(name, "\x00", ""), `"`, `""`) + `"`
}

// QuoteTable is schema.table in SQL.
func QuoteTable(table string) string {
	schema, relation := SplitTable(table)
	return Quote(schema) + "." + Quote(relation)
}

// QuoteAll is a list of names in SQL.
func QuoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = Quote(n)
	}
	return strings.Join(quoted, ", ")
}

// SplitTable splits schema.table at the first point; the schema defaults to public.
func SplitTable(table string) (schema, name string) {
	if s, t, ok := strings.Cut(table, "."); ok {
		return s, t
	}
	return "public", table
}

// Literal is a text in SQL.
func Literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// enclosed keeps an expression by itself: a comment at its end takes nothing along.
func enclosed(sql string) string { return "(\n" + sql + "\n)" }

// equal compares two values by PostgreSQL's own operator. A bare = between two varchar, enum,
// array or domain values takes an operator of schema public, if a role has made one for exactly these
// types. So does "is distinct from".
func equal(a, b string) string { return a + " operator(pg_catalog.=) " + b }
