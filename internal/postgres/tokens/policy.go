package tokens

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"

	"rollcall/internal/target"
)

var (
	//go:embed helpers.sql
	helpersSQL string
	//go:embed policy.sql
	policySQL string
)

// rowReader says which rows of a target's table a user may read.
type rowReader struct {
	target *target.Target
	table  *target.Table
	// role is the one that reads for users, such as authenticated.
	role string
}

// policy is the SQL; an error if no column is just the id that this needs.
func (r *rowReader) policy() (string, error) {
	var conditions []string
	var missing string
	switch r.target.Roll {
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
		return "", fmt.Errorf("target %s: no column of set is %s alone, so that no policy follows from it; write one by hand, with rollcall_api.me()", r.target.Name, missing)
	}
	role := target.Quote(r.role)
	return fmt.Sprintf(helpersSQL, role) + "\n" +
		fmt.Sprintf(policySQL, target.QuoteTable(r.target.Table), role, strings.Join(conditions, "\n    or ")), nil
}

// column is the one that is just a field of new, with a cast at most.
func (r *rowReader) column(field string) string {
	for _, a := range r.target.Set {
		if m := justField.FindStringSubmatch(a.Expr.SQL); m != nil && strings.EqualFold(m[1], field) {
			return a.Column
		}
	}
	return ""
}

// justField is a field of new, perhaps in parentheses, with casts.
var justField = regexp.MustCompile(`^[\s(]*(\w+\.\w+)[\s)]*(?:::\s*[\w."]+(?: \w+)*\s*(?:\(\d+\))?[\s)]*)*$`)

// is compares a column with the user who asks. Another user's id that is no uuid equals none.
func (r *rowReader) is(column string) string {
	if c := r.table.Column(column); c == nil || c.Type != "uuid" {
		return fmt.Sprintf("%s = (select rollcall_api.me())", target.Quote(column))
	}
	return fmt.Sprintf("%s = (select case when me ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then me::uuid end from rollcall_api.me() me)", target.Quote(column))
}

// among compares a column with the organizations of the user who asks. As an array they are searched for in the
// column's index; in (select …) would be a hashed subplan, which reads the whole table.
func (r *rowReader) among(column string) string {
	return fmt.Sprintf("%s = any (array(select rollcall_api.my_organizations()))", target.Quote(column))
}
