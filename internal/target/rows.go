package target

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed rows.sql
var rowsSQL string

// RowReader says which rows of a target's table a user may read.
type RowReader struct {
	Target *Target
	// Types are those of the table's columns, as format_type writes them.
	Types map[string]string
	// Role is the one that reads for users, such as authenticated.
	Role string
}

// Policy is SQL with the helper functions in schema rollcall_api and the policy of the table. A user reads their own
// row, their own memberships and those of their organizations, and their organizations. It is an error if no column is
// just the id that this needs.
func (r *RowReader) Policy() (string, error) {
	var conditions []string
	var missing string
	switch r.Target.Roll {
	case "memberships":
		own, organization := r.column("new.user_id"), r.column("new.organization_id")
		if own != "" {
			conditions = append(conditions, r.is(own))
		}
		if organization != "" {
			conditions = append(conditions, r.among(organization))
		}
		missing = "new.user_id or new.organization_id"
	case "organizations":
		if id := r.column("new.id"); id != "" {
			conditions = append(conditions, r.among(id))
		}
		missing = "new.id"
	default:
		if id := r.column("new.id"); id != "" {
			conditions = append(conditions, r.is(id))
		}
		missing = "new.id"
	}
	if len(conditions) == 0 {
		return "", fmt.Errorf("target %s: no column of set is %s alone, so that no policy follows from it; write one by hand, with rollcall_api.me()", r.Target.Name, missing)
	}
	role := Quote(r.Role)
	return fmt.Sprintf(part(rowsSQL, "helpers"), role) + "\n" +
		fmt.Sprintf(part(rowsSQL, "table"), QuoteTable(r.Target.Table), role, strings.Join(conditions, "\n    or ")), nil
}

// column is the one that is just a field of new, with a cast at most.
func (r *RowReader) column(field string) string {
	for _, a := range r.Target.Set {
		text, _, _ := strings.Cut(strings.Trim(strings.ReplaceAll(a.Expr.SQL, " ", ""), "()"), "::")
		if strings.EqualFold(strings.Trim(text, "()"), field) {
			return a.Column
		}
	}
	return ""
}

// is compares a column with the user who asks. Another user's id that is no uuid equals none.
func (r *RowReader) is(column string) string {
	if r.Types[column] != "uuid" {
		return fmt.Sprintf("%s = (select rollcall_api.me())", Quote(column))
	}
	return fmt.Sprintf("%s = (select case when me ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then me::uuid end from rollcall_api.me() me)", Quote(column))
}

func (r *RowReader) among(column string) string {
	return fmt.Sprintf("%s in (select rollcall_api.my_organizations())", Quote(column))
}
