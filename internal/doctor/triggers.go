package doctor

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/survey"
	"rollcall/internal/target"
)

// triggers finds the triggers of others on the tables of users that write a target's table, too, or that can make
// sign-ups fail.
func (e *examination) triggers(ctx context.Context) error {
	for _, c := range e.Captures {
		t, err := e.DB.Directory().Table(ctx, c.Table)
		if errors.Is(err, directory.ErrUnseen) {
			continue
		}
		if err == nil {
			err = e.triggersOn(ctx, c.Table, t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *examination) triggersOn(ctx context.Context, table string, t *catalog.Table) error {
	list, err := e.survey.Triggers(ctx, t.OID)
	if err != nil {
		return err
	}
	for _, trigger := range list {
		if !trigger.Enabled || trigger.Language != "plpgsql" && trigger.Language != "sql" {
			continue
		}
		written := written(trigger.Body)
		e.writesTarget(table, trigger, written)
		e.searchPath(table, trigger, written)
		if err := e.triggerRights(ctx, t, table, trigger, written); err != nil {
			return err
		}
	}
	return nil
}

// name is a table as SQL names it; schema is "" where it is left out.
type name struct{ schema, table string }

const identifier = `(?:"((?:[^"]|"")+)"|([A-Za-z_][\w$]*))`

var (
	sqlComment = regexp.MustCompile(`(?s)/\*.*?\*/|--[^\n]*`)
	writes     = regexp.MustCompile(`(?i)\b(?:insert\s+into|update(?:\s+only)?|merge\s+into|delete\s+from)\s+` + identifier + `(?:\s*\.\s*` + identifier + `)?`)
)

// written are the tables that the text of a function writes, as far as it names them.
func written(body string) []name {
	var list []name
	for _, m := range writes.FindAllStringSubmatch(sqlComment.ReplaceAllString(body, " "), -1) {
		first, second := identified(m[1], m[2]), identified(m[3], m[4])
		switch {
		case second != "":
			list = append(list, name{first, second})
		case !strings.EqualFold(first, "set"): // on conflict do update set
			list = append(list, name{"", first})
		}
	}
	return list
}

// identified is an identifier as the catalog has it.
func identified(quoted, plain string) string {
	if quoted != "" {
		return strings.ReplaceAll(quoted, `""`, `"`)
	}
	return strings.ToLower(plain)
}

// writesTarget finds a trigger that writes a target's table beside Rollcall.
func (e *examination) writesTarget(table string, t survey.Trigger, written []name) {
	for _, to := range e.File.Targets {
		schema, relation := target.SplitTable(to.Table)
		for _, w := range written {
			if w.table != relation || w.schema != schema && (w.schema != "" || schema != "public") {
				continue
			}
			e.add(triggerWritesTarget, "trigger "+t.Name+" on "+table, fmt.Sprintf("the function %s writes %s, the table of target %s, beside "+
				"Rollcall, and if it fails, so does the sign-up", t.Function, to.Table, to.Name),
				sql("drop trigger %s on %s", target.Quote(t.Name), target.QuoteTable(table)))
			break
		}
	}
}

// searchPath finds a function that others can lead astray, or that fails where the auth server's role has no schema
// public in its path.
func (e *examination) searchPath(table string, t survey.Trigger, written []name) {
	if t.Path != nil {
		return
	}
	unqualified := ""
	for _, w := range written {
		if w.schema == "" {
			unqualified = w.table
		}
	}
	set := sql("alter function %s set search_path = public, pg_temp", t.Function)
	at := "function " + t.Function
	switch {
	case unqualified != "":
		e.add(triggerSearchPath, at, fmt.Sprintf("the trigger %s on %s writes %s without its schema, and sets no search_path: the auth server's "+
			"role does not find it, and the sign-up fails", t.Name, table, target.Quote(unqualified)), set)
	case t.Definer:
		e.add(triggerSearchPath, at, fmt.Sprintf("the function of the trigger %s on %s runs as %s without a search_path of its own: who may create "+
			"in a schema of the path can run code as that role", t.Name, table, t.Owner), set)
	}
}

// authAdmin is the role that Supabase's auth server works as.
const authAdmin = "supabase_auth_admin"

// triggerRights finds a function that may not write what it writes: then no user can sign up.
func (e *examination) triggerRights(ctx context.Context, on *catalog.Table, table string, t survey.Trigger, written []name) error {
	role := t.Owner
	if !t.Definer {
		var err error
		if role, err = e.survey.Owner(ctx, on.OID); err != nil {
			return err
		}
		if strings.HasPrefix(table, "auth.") {
			role = authAdminOr(ctx, e, role)
		}
	}
	for _, w := range written {
		schema := w.schema
		if schema == "" {
			schema = "public"
		}
		may, err := e.survey.Writable(ctx, role, schema, w.table)
		if err != nil {
			return err
		}
		if !may {
			e.add(triggerRights, "function "+t.Function, fmt.Sprintf("the trigger %s on %s runs as %s, which may not write %s.%s: the sign-up fails",
				t.Name, table, role, schema, w.table), sql("grant usage on schema %s to %[2]s; grant select, insert, update on %[3]s to %[2]s",
				target.Quote(schema), target.Quote(role), target.QuoteTable(schema+"."+w.table)))
		}
	}
	return nil
}

// authAdminOr is the auth server's role where there is one.
func authAdminOr(ctx context.Context, e *examination, owner string) string {
	if there, err := e.survey.HasRole(ctx, authAdmin); err == nil && there {
		return authAdmin
	}
	return owner
}
