package doctor

import (
	"cmp"
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
			err = e.triggersOn(ctx, t, c.Table)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *examination) triggersOn(ctx context.Context, t *catalog.Table, table string) error {
	list, err := e.survey.Triggers(ctx, t.OID)
	if err != nil {
		return err
	}
	caller, err := e.caller(ctx, t, table)
	if err != nil {
		return err
	}
	for _, trigger := range list {
		if !trigger.Enabled || trigger.Language != "plpgsql" && trigger.Language != "sql" {
			continue
		}
		on := onUsers{trigger, table, caller, written(trigger.Body)}
		e.writesTarget(on)
		e.searchPath(on)
		if err := e.triggerRights(ctx, on); err != nil {
			return err
		}
	}
	return nil
}

// onUsers is a trigger on a table of users, what it writes, and who changes that table.
type onUsers struct {
	survey.Trigger

	on, caller string
	written    []name
}

// caller is the role that changes a table of users: the auth server's, or the owner.
func (e *examination) caller(ctx context.Context, t *catalog.Table, table string) (string, error) {
	if strings.HasPrefix(table, "auth.") {
		if there, err := e.survey.HasRole(ctx, authAdmin); err != nil || there {
			return authAdmin, err
		}
	}
	return e.survey.Owner(ctx, t.OID)
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
func (e *examination) writesTarget(t onUsers) {
	for _, to := range e.File.Targets {
		schema, relation := target.SplitTable(to.Table)
		for _, w := range t.written {
			if w.table != relation || w.schema != schema && (w.schema != "" || schema != "public") {
				continue
			}
			e.add(triggerWritesTarget, "trigger "+t.Name+" on "+t.on, fmt.Sprintf("the function %s writes %s, the table of target %s, beside "+
				"Rollcall, and if it fails, so does the sign-up", t.Function, to.Table, to.Name),
				sql("drop trigger %s on %s", target.Quote(t.Name), target.QuoteTable(t.on)))
			break
		}
	}
}

// searchPath finds a function that others can lead astray, or that fails where the auth server's role has no schema
// public in its path.
func (e *examination) searchPath(t onUsers) {
	if t.Path != nil {
		return
	}
	unqualified := ""
	for _, w := range t.written {
		if w.schema == "" {
			unqualified = w.table
		}
	}
	set := sql("alter function %s set search_path = public, pg_temp", t.Function)
	at := "function " + t.Function
	switch {
	case unqualified != "":
		e.add(triggerSearchPath, at, fmt.Sprintf("the trigger %s on %s writes %s without its schema, and sets no search_path: the auth server's "+
			"role does not find it, and the sign-up fails", t.Name, t.on, target.Quote(unqualified)), set)
	case t.Definer:
		e.add(triggerSearchPath, at, fmt.Sprintf("the function of the trigger %s on %s runs as %s without a search_path of its own: who may create "+
			"in a schema of the path can run code as that role", t.Name, t.on, t.Owner), set)
	}
}

// authAdmin is the role that Supabase's auth server works as.
const authAdmin = "supabase_auth_admin"

// triggerRights finds a function that may not write what it writes: then no user can sign up.
func (e *examination) triggerRights(ctx context.Context, t onUsers) error {
	role := t.caller
	if t.Definer {
		role = t.Owner
	}
	for _, w := range t.written {
		schema := cmp.Or(w.schema, "public")
		may, err := e.survey.Writable(ctx, role, schema, w.table)
		if err != nil {
			return err
		}
		if !may {
			e.add(triggerRights, "function "+t.Function, fmt.Sprintf("the trigger %s on %s runs as %s, which may not write %s.%s: the sign-up fails",
				t.Name, t.on, role, schema, w.table), sql("grant usage on schema %s to %[2]s; grant select, insert, update on %[3]s to %[2]s",
				target.Quote(schema), target.Quote(role), target.QuoteTable(schema+"."+w.table)))
		}
	}
	return nil
}
