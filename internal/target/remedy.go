package target

import "regexp"

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

// runs parts what a finding says from the SQL that corrects it.
var runs = regexp.MustCompile(`(?s)^(.*?)[;,:]? (?:or |as an administrator |or as an administrator )?run: (.*)$`)

// Meaning is what is wrong, without the SQL that corrects it.
func (f Finding) Meaning() string {
	if parts := runs.FindStringSubmatch(f.What); parts != nil {
		return parts[1]
	}
	return f.What
}

// SQL corrects what is wrong; "" where none is known.
func (f Finding) SQL() string {
	if parts := runs.FindStringSubmatch(f.What); parts != nil {
		return parts[2] + ";"
	}
	return ""
}
