package target

import (
	"slices"
	"strings"
)

// users is a roll like that of Rollcall's users.
var users = roll("rollcall.users",
	"source", "id", "external_id", "email", "email_verified", "email_confirmed_at", "phone",
	"phone_verified", "phone_confirmed_at", "username", "first_name", "last_name", "full_name",
	"avatar_url", "raw_user_meta_data", "raw_app_meta_data", "is_anonymous", "banned",
	"banned_until", "created_at", "updated_at", "last_sign_in_at", "deleted_at")

func roll(table string, columns ...string) *Roll {
	r := &Roll{Table: table, Source: "source", ID: "id"}
	for _, name := range columns {
		trusted := slices.Contains([]string{"source", "id", "external_id", "raw_app_meta_data"}, name)
		r.Columns = append(r.Columns, Field{name, "text", trusted})
	}
	return r
}

// assign reads "column: expression" lines.
func assign(lines ...string) []Assignment {
	var list []Assignment
	for _, line := range lines {
		column, sql, _ := strings.Cut(line, ": ")
		list = append(list, Assignment{Column: column, Expr: Expr{SQL: sql, At: "test.yaml:1:1"}})
	}
	return list
}

// profiles is a target that follows everything of a table p(id, email, name, role).
func profiles() *Target {
	return &Target{
		Name: "profiles", At: "test.yaml:1:1", Table: "public.p", From: []Origin{{Source: "app", SampleID: "u1"}}, Key: []string{"id"},
		Set:      assign("id: new.id", "email: new.email", "name: new.first_name"),
		OnInsert: assign("role: 'customer'"), OnDelete: OnDelete{Action: DeleteRow},
	}
}

// said is what findings say, one in a line.
func said(found []Finding) string {
	var lines []string
	for _, f := range found {
		lines = append(lines, f.What)
	}
	return strings.Join(lines, "\n")
}
