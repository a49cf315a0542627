package target

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Code names a kind of finding. Package doctor describes each.
type Code string

// The kinds of findings about targets.
const (
	TableClosed       Code = "target_table_closed"
	TableMissing      Code = "target_table_missing"
	TableKind         Code = "target_no_table"
	Rights            Code = "target_rights"
	RowSecurity       Code = "target_row_security"
	ColumnMissing     Code = "target_column_missing"
	ColumnGenerated   Code = "target_column_generated"
	ColumnRequired    Code = "target_column_required"
	KeyIndex          Code = "target_key_index"
	KeyIncomplete     Code = "target_key_incomplete"
	KeyChanges        Code = "target_key_changes"
	KeyType           Code = "target_key_type"
	MatchInvalid      Code = "target_match_invalid"
	MatchIndex        Code = "target_match_index"
	ExpressionInvalid Code = "target_expression_invalid"
	ExpressionRefused Code = "target_expression_refused"
	StatementRefused  Code = "target_statement_refused"
	DefaultRefused    Code = "target_default_refused"
	ReadsItself       Code = "target_reads_itself"
	TextCast          Code = "target_text_cast"
	OnDeleteKey       Code = "target_on_delete_key"
	OnDeleteNull      Code = "target_on_delete_null"
	OnDeleteUnmarked  Code = "target_on_delete_unmarked"
	ReferenceBlocks   Code = "target_reference_blocks"
	ReferenceDeletes  Code = "target_reference_deletes"
	Unchecked         Code = "target_unchecked"
	ClaimInvalid      Code = "claim_invalid"
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

// runs parts what a finding says from the SQL that corrects it.
var runs = regexp.MustCompile(`(?s)^(.*?)[;,:]? (?:or |as an administrator |or as an administrator )?run: (.*)$`)

// Meaning is what is wrong, without the SQL that corrects it.
func (f Finding) Meaning() string {
	if parts := runs.FindStringSubmatch(f.What); parts != nil {
		return parts[1]
	}
	return f.What
}

// RemedyOf is what corrects a finding about the target: the SQL that the finding names, or the field of the
// configuration without the mistake; the zero value where neither is known.
func (t *Target) RemedyOf(f Finding) Remedy {
	if parts := runs.FindStringSubmatch(f.What); parts != nil {
		return Remedy{SQL, parts[2] + ";"}
	}
	for _, field := range t.columnFields() {
		for i, a := range field.list {
			isKey := slices.Contains(t.Key, a.Column)
			switch {
			case a.Expr.At != f.At:
			case isKey && f.Code == KeyChanges:
				list := slices.Clone(field.list)
				list[i].Expr = Expr{SQL: "new.id"}
				return t.yaml(field.name, list)
			case !isKey:
				return t.yaml(field.name, corrected(f, field.list, i))
			}
		}
	}
	return Remedy{}
}

// columnField is a field of a target that gives columns their values.
type columnField struct {
	name string
	list []Assignment
}

func (t *Target) columnFields() []columnField {
	return []columnField{{"set", t.Set}, {"on_insert", t.OnInsert}, {"on_delete", t.OnDelete.Set}}
}

// meant finds what a finding suggests instead of what is written.
var meant = regexp.MustCompile(`(did you mean|it is) (the text )?([\w.]+)( here|\?)`)

// corrected is a list of columns in which one has what the finding suggests. Where it suggests nothing, the column
// is left out.
func corrected(f Finding, list []Assignment, i int) []Assignment {
	list = slices.Clone(list)
	a := &list[i]
	suggested := meant.FindStringSubmatch(f.What)
	switch {
	case f.Code == TextCast:
		if typ := castTo.FindStringSubmatch(f.What); typ != nil {
			a.Expr.Written = fmt.Sprintf("(%s)::%s", a.Expr.text(), typ[1])
		}
	case suggested == nil:
		return slices.Delete(list, i, i+1)
	case f.Code == ColumnMissing:
		a.Column = suggested[3]
	case suggested[2] != "" || f.Code == ExpressionInvalid && !strings.HasPrefix(suggested[3], "new."):
		a.Expr.Written = Literal(suggested[3])
	case strings.HasPrefix(suggested[3], "new.") && isField.MatchString(a.Expr.text()):
		a.Expr.Written = suggested[3]
	case strings.HasPrefix(a.Expr.text(), "'"): // a label of an enum
		a.Expr.Written = Literal(suggested[3])
	default:
		return slices.Delete(list, i, i+1)
	}
	return list
}

var (
	castTo  = regexp.MustCompile(`^column ".*?" is (.+?) and `)
	isField = regexp.MustCompile(`^(?i:new)\.?"?\w*"?$|^\w+$`)
)

// text is the expression as the file has it.
func (e Expr) text() string {
	if e.Written != "" {
		return e.Written
	}
	return e.SQL
}

// yaml is a field of the target as the configuration would have it. It can't be empty.
func (t *Target) yaml(field string, list []Assignment) Remedy {
	if len(list) == 0 {
		return Remedy{}
	}
	lines := []string{"targets:", "  " + t.Name + ":", "    " + field + ":"}
	for _, a := range list {
		lines = append(lines, "      "+scalar(a.Column)+": "+scalar(a.Expr.text()))
	}
	return Remedy{YAML, strings.Join(lines, "\n")}
}

var plainScalar = regexp.MustCompile(`^[a-z][a-z0-9_.]*$`)

// scalar writes a text as YAML does.
func scalar(text string) string {
	if plainScalar.MatchString(text) && !slices.Contains(valueWords, text) {
		return text
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(text) + `"`
}
