package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"rollcall/internal/target"
)

// Remedy is what corrects a finding, to paste.
type Remedy struct {
	Kind Kind   `json:"kind"`
	Text string `json:"text"`
}

// Kind says where the text of a remedy is pasted.
type Kind string

// YAML takes the place of the fields that it names, of a source or a target, in the configuration. SQL is for the
// owner of what it names, and Command for a shell.
const (
	SQL     Kind = "sql"
	YAML    Kind = "yaml"
	Command Kind = "command"
)

// RemedyOf is what corrects a finding about a target: the SQL that the finding names, or the field of the
// configuration without the mistake; the zero value where neither is known.
func RemedyOf(t *target.Target, f target.Finding) Remedy {
	if sql := f.SQL(); sql != "" {
		return Remedy{Kind: SQL, Text: sql}
	}
	for _, field := range columnFields(t) {
		for i, a := range field.list {
			isKey := slices.Contains(t.Key, a.Column)
			switch {
			case a.Expr.At != f.At:
			case isKey && f.Code == target.KeyChanges:
				list := slices.Clone(field.list)
				list[i].Expr = target.Expr{SQL: "new.id"}
				return yamlOf(t, field.name, list)
			case !isKey:
				return yamlOf(t, field.name, corrected(f, field.list, i))
			}
		}
	}
	return Remedy{}
}

// columnField is a field of a target that gives columns their values.
type columnField struct {
	name string
	list []target.Assignment
}

func columnFields(t *target.Target) []columnField {
	return []columnField{{"set", t.Set}, {"on_insert", t.OnInsert}, {"on_delete", t.OnDelete.Set}}
}

// meant finds what a finding suggests instead of what is written.
var meant = regexp.MustCompile(`(did you mean|it is) (the text )?([\w.]+)( here|\?)`)

// corrected is a list of columns in which one has what the finding suggests. Where it suggests nothing, the column
// is left out.
func corrected(f target.Finding, list []target.Assignment, i int) []target.Assignment {
	list = slices.Clone(list)
	a := &list[i]
	suggested := meant.FindStringSubmatch(f.What)
	switch {
	case f.Code == target.TextCast:
		if typ := castTo.FindStringSubmatch(f.What); typ != nil {
			a.Expr.Written = fmt.Sprintf("(%s)::%s", written(a.Expr), typ[1])
		}
	case suggested == nil:
		return slices.Delete(list, i, i+1)
	case f.Code == target.ColumnMissing:
		a.Column = suggested[3]
	case suggested[2] != "" || f.Code == target.ExpressionInvalid && !strings.HasPrefix(suggested[3], "new."):
		a.Expr.Written = target.Literal(suggested[3])
	case strings.HasPrefix(suggested[3], "new.") && isField.MatchString(written(a.Expr)):
		a.Expr.Written = suggested[3]
	case strings.HasPrefix(written(a.Expr), "'"): // a label of an enum
		a.Expr.Written = target.Literal(suggested[3])
	default:
		return slices.Delete(list, i, i+1)
	}
	return list
}

var (
	castTo  = regexp.MustCompile(`^column ".*?" is (.+?) and `)
	isField = regexp.MustCompile(`^(?i:new)\.?"?\w*"?$|^\w+$`)
)

// written is the expression as the file has it.
func written(e target.Expr) string { return cmp.Or(e.Written, e.SQL) }

// yamlOf is a field of the target as the configuration would have it. It can't be empty.
func yamlOf(t *target.Target, field string, list []target.Assignment) Remedy {
	if len(list) == 0 {
		return Remedy{}
	}
	lines := []string{"targets:", "  " + t.Name + ":", "    " + field + ":"}
	for _, a := range list {
		lines = append(lines, "      "+scalar(a.Column)+": "+scalar(written(a.Expr)))
	}
	return Remedy{Kind: YAML, Text: strings.Join(lines, "\n")}
}

var plainScalar = regexp.MustCompile(`^[a-z][a-z0-9_.]*$`)

// scalar writes a text as YAML does.
func scalar(text string) string {
	if plainScalar.MatchString(text) && !slices.Contains([]string{"null", "true", "false", "yes", "no", "on", "off"}, text) {
		return text
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(text) + `"`
}
