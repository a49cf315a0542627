//go:build unix

package tokens_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/tokens"
	"rollcall/internal/target"
)

const (
	ada, ben   = "user_ada", "user_ben"
	ada4, ben4 = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"
)

// readers has tables with the rows of two users, each in an organization of their own, and a role that reads for them.
type readers struct {
	*fixture.Bench
	role string
	conn *pgtest.Conn
}

func newReaders(t *testing.T) *readers {
	t.Helper()
	r := &readers{Bench: fixture.NewBench(t, `create table texts (id text primary key, email text); create table uuids (id uuid primary key, email text);
		create table teams (id text primary key, name text); create table members (team text, who text, role text, primary key (team, who));
		create table stores (team text primary key, note text)`)}
	r.role = r.NewRole("", "comment on role %[1]s is 'reads for users'")
	for _, id := range []string{ada, ben, ada4, ben4} {
		r.Exec(`insert into rollcall.users (source, id, version, changed_at) values ('clerk', $1, 1, now())`, id)
		r.Exec(`insert into rollcall.organizations (source, id, version, changed_at) values ('clerk', 'org_' || $1, 1, now())`, id)
		r.Exec(`insert into rollcall.memberships (source, id, version, changed_at, organization_id, user_id, created_at) values ('clerk', 'mem_' || $1, 1, now(), 'org_' || $1, $1, now())`, id)
		r.Exec("insert into texts values ($1)", id)
		r.Exec("insert into teams values ('org_' || $1)", id)
		r.Exec("insert into members values ('org_' || $1, $1), ('org_' || $1, 'user_of_' || $1)", id)
	}
	r.Exec(fmt.Sprintf("insert into uuids values ('%s'), ('%s')", ada4, ben4))
	for _, of := range []target.Target{
		{Name: "texts", Table: "texts", Set: set("id", "new.id")},
		{Name: "uuids", Table: "uuids", Set: set("id", "(new.id)::uuid")},
		{Name: "teams", Table: "teams", Roll: "organizations", Set: set("id", "new.id")},
		{Name: "members", Table: "members", Roll: "memberships", Set: set("team", "new.organization_id", "who", "new.user_id")},
	} {
		script := must.Get(tokens.Tokens{Pool: r.Pool}.Policy(t.Context(), &of, r.role))(t)
		r.Exec(script)
		r.Exec(script) // again
	}
	r.conn = pgtest.Connect(t, pgtest.As(t, r.Address, r.role))
	return r
}

func set(pairs ...string) (list []target.Assignment) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, target.Assignment{Column: pairs[i], Expr: target.Expr{SQL: pairs[i+1]}})
	}
	return list
}

// reads is what the role sees of a table after some statements.
func (r *readers) reads(before, columns string) string {
	r.T.Helper()
	r.conn.Run("reset all")
	r.conn.Run(before)
	rows, err := r.conn.Query(r.T.Context(), "select "+columns)
	must.Do(r.T, err)
	var all []string
	for rows.Next() {
		var text string
		must.Do(r.T, rows.Scan(&text))
		all = append(all, text)
	}
	must.Do(r.T, rows.Err())
	return strings.Join(all, " ")
}

// A user reads their own row, no other one, and nothing without a token; with ids of both providers, in both types of
// columns, and by the setting of a server of the team's own.
func TestRowsOfAUser(t *testing.T) {
	t.Parallel()
	r := newReaders(t)
	claims := func(text string) string { return "select set_config('request.jwt.claims', '" + text + "', false)" }
	for name, tt := range map[string]struct{ before, texts, uuids, teams, members string }{
		"Supabase's token": {claims(`{"sub": "` + ada4 + `", "role": "authenticated", "aud": "authenticated"}`), ada4, ada4, "org_" + ada4,
			"org_" + ada4 + "/" + ada4 + " org_" + ada4 + "/user_of_" + ada4},
		"Clerk's token":                    {claims(`{"sub": "` + ben + `", "o": {"id": "org_` + ada + `", "rol": "admin"}, "org_id": "org_` + ada + `"}`), ben, "", "org_" + ben, "org_" + ben + "/" + ben + " org_" + ben + "/user_of_" + ben},
		"a server of one's own":            {"select set_config('app.auth_uid', '" + ada + "', false)", ada, "", "org_" + ada, "org_" + ada + "/" + ada + " org_" + ada + "/user_of_" + ada},
		"no token":                         {"select 1", "", "", "", ""},
		"an empty setting":                 {claims(""), "", "", "", ""},
		"a token without a user":           {claims(`{"role": "anon"}`) + "; select set_config('app.auth_uid', '" + ada + "', false)", "", "", "", ""},
		"no JSON":                          {claims(`{"sub": `), "", "", "", ""},
		"a sub that is no text":            {claims(`{"sub": {"a": 1}}`), "", "", "", ""},
		"claims that are no object":        {claims(`[]`), "", "", "", ""},
		"an unknown user":                  {claims(`{"sub": "user_nobody"}`), "", "", "", ""},
		"an id in upper case":              {claims(`{"sub": "` + strings.ToUpper(ada4) + `"}`), "", ada4, "", ""},
		"a user with SQL in the id":        {claims(`{"sub": "x'' or true --"}`), "", "", "", ""},
		"another setting beside the token": {claims(`{"sub": "`+ada4+`"}`) + "; select set_config('app.auth_uid', '" + ben + "', false)", ada4, ada4, "org_" + ada4, "org_" + ada4 + "/" + ada4 + " org_" + ada4 + "/user_of_" + ada4},
	} {
		for query, want := range map[string]string{
			"id from texts": tt.texts, "id::text from uuids": tt.uuids, "id from teams": tt.teams, "team || '/' || who from members order by 1": tt.members,
		} {
			must.Equal(t, r.reads(tt.before, query), want, name+": "+query)
		}
	}
	// Whoever leaves reads nothing of the organization from then on, but what is their own.
	r.Exec("update rollcall.memberships set deleted_at = now() where user_id = $1", ada)
	before := claims(`{"sub": "` + ada + `"}`)
	must.Equal(t, r.reads(before, "id from teams"), "", "teams once left")
	must.Equal(t, r.reads(before, "team || '/' || who from members"), "org_"+ada+"/"+ada, "members once left")
	_, err := r.conn.Exec(t.Context(), "delete from texts")
	must.True(t, err != nil && strings.Contains(err.Error(), "permission denied"), "a user may delete: %v", err)
	_, err = r.conn.Exec(t.Context(), "select rollcall_api.be('user_ben')")
	must.True(t, err != nil && strings.Contains(err.Error(), "permission denied"), "a client names another user: %v", err)
	_, err = pgtest.Connect(t, pgtest.As(t, r.Address, r.NewRole("", "comment on role %[1]s is 'a stranger'"))).Exec(t.Context(), "select rollcall_api.me()")
	must.True(t, err != nil && strings.Contains(err.Error(), "permission denied"), "a stranger asks: %v", err)
}

// A server names the user for one transaction.
func TestBe(t *testing.T) {
	t.Parallel()
	r := newReaders(t)
	r.Exec("grant execute on function rollcall_api.be(text) to " + r.role)
	r.conn.Run("select set_config('request.jwt.claims', '{\"sub\": \"" + ben + "\"}', false)")
	r.conn.Run("begin; select rollcall_api.be('" + ada + "')")
	var id string
	must.Do(t, r.conn.QueryRow(t.Context(), "select id from texts").Scan(&id))
	must.Equal(t, id, ada, "in the transaction")
	r.conn.Run("commit")
	must.Do(t, r.conn.QueryRow(t.Context(), "select id from texts").Scan(&id))
	must.Equal(t, id, ben, "after it")
}

// Each helper runs once per statement, whatever the number of rows, and the key's index finds these.
func TestHelpersRunOnce(t *testing.T) {
	t.Parallel()
	r := newReaders(t)
	r.Exec(`insert into texts select 'user_' || n from generate_series(1, 5000) n; insert into teams select 'o' || n from generate_series(1, 5000) n;
		insert into members select 'o' || n, 'user_' || n from generate_series(1, 5000) n; create index on members (who); analyze texts, teams, members`)
	r.conn.Run("select set_config('request.jwt.claims', '{\"sub\": \"" + ada + "\"}', false)")
	for table, indexes := range map[string][]string{
		"texts": {"(id = "}, "uuids": nil, "teams": {"(id = ANY "}, "members": {"(who = ", "(team = ANY "},
	} {
		plan := r.plan("explain (analyze, timing off, costs off, summary off) select * from " + table)
		must.True(t, strings.Contains(plan, "InitPlan") && !strings.Contains(plan, "SubPlan"), "%s: no subquery that runs before all in %s", table, plan)
		must.Equal(t, r.asked(plan), 1, table+": a helper runs for each row, or never:\n"+plan)
		for _, index := range indexes {
			must.True(t, strings.Contains(plan, "Index Cond: "+index), "%s: the index of %s is not used: %s", table, index, plan)
		}
	}
}

// asked is the highest number of times that a node of a plan without tables has run, which calls a helper.
func (r *readers) asked(plan string) (most int) {
	for _, loops := range regexp.MustCompile(`(?:Result|Function Scan on (?:rollcall_api\.)?\w+(?: \w+)?|ProjectSet|Seq Scan on memberships)[^\n]*loops=(\d+)`).FindAllStringSubmatch(plan, -1) {
		most = max(most, must.Get(strconv.Atoi(loops[1]))(r.T))
	}
	return most
}

// A policy of one's own may take the organizations as a set: it runs once, too.
func TestOrganizationsAsSet(t *testing.T) {
	t.Parallel()
	r := newReaders(t)
	r.Exec(`create table notes (team text, text text); create index on notes (team); insert into notes select 'o' || n, 'x' from generate_series(1, 5000) n;
		insert into notes values ('org_` + ada + `', 'own'), ('org_` + ben + `', 'another'); analyze notes; alter table notes enable row level security;
		create policy mine on notes for select to ` + r.role + ` using (team in (select rollcall_api.my_organizations())); grant select on notes to ` + r.role)
	before := "select set_config('request.jwt.claims', '{\"sub\": \"" + ada + "\"}', false)"
	must.Equal(t, r.reads(before, "text from notes"), "own", "notes")
	plan := r.plan("explain (analyze, timing off, costs off, summary off) select * from notes")
	must.True(t, strings.Contains(plan, "hashed SubPlan") && !strings.Contains(plan, "Index Cond"), "the set is another plan than the page says: %s", plan)
	must.Equal(t, r.asked(plan), 1, "it runs for each row:\n"+plan)
}

func (r *readers) plan(query string) string {
	r.T.Helper()
	rows, err := r.conn.Query(r.T.Context(), query)
	must.Do(r.T, err)
	var plan strings.Builder
	for rows.Next() {
		var line string
		must.Do(r.T, rows.Scan(&line))
		plan.WriteString(line + "\n")
	}
	must.Do(r.T, rows.Err())
	return plan.String()
}

// Without a column that is the id alone there is no policy to print.
func TestNoPolicy(t *testing.T) {
	t.Parallel()
	r := newReaders(t)
	_, err := tokens.Tokens{Pool: r.Pool}.Policy(t.Context(), &target.Target{Name: "odd", Table: "texts", Set: set("id", "md5(new.id)", "email", "new.email")}, r.role)
	must.True(t, err != nil && strings.Contains(err.Error(), "no column of set is new.id alone"), "got %v", err)
}

// The column is the one that has the id alone, however it is written.
func TestColumnOfThePolicy(t *testing.T) {
	t.Parallel()
	r := newReaders(t)
	for _, sql := range []string{"new.id", "NEW.ID", "( new.id )", "new.id::text", "(new.id :: character varying(64))::text", `new.id::pg_catalog."text"`, "((new.id)::text)"} {
		of := &target.Target{Name: "texts", Table: "texts", Set: set("email", "new.id::text || '-x'", "id", sql)}
		script := must.Get(tokens.Tokens{Pool: r.Pool}.Policy(t.Context(), of, r.role))(t)
		must.Contain(t, script, `using ("id" = (select rollcall_api.me()))`)
	}
}

// A script that psql runs statement by statement, on after errors, changes nothing if one of them fails.
func TestPolicyIsATransaction(t *testing.T) {
	t.Parallel()
	r := newReaders(t)
	r.Exec("create table numbers (id bigint primary key)")
	run := func(of target.Target, role string) {
		script := must.Get(tokens.Tokens{Pool: r.Pool}.Policy(t.Context(), &of, role))(t)
		failed := 0
		var statement strings.Builder
		for line := range strings.Lines(script) {
			statement.WriteString(line)
			if !strings.HasSuffix(line, ";\n") || strings.Count(statement.String(), "$rollcall$")%2 == 1 {
				continue
			}
			if _, err := r.SQL.Exec(t.Context(), statement.String()); err != nil {
				failed++
			}
			statement.Reset()
		}
		must.True(t, failed > 0, "it does not fail")
	}
	run(target.Target{Name: "texts", Table: "texts", Set: set("id", "new.id")}, "nobody here")
	must.Equal(t, r.reads(`select set_config('request.jwt.claims', '{"sub": "`+ada+`"}', false)`, "id from texts"), ada)
	run(target.Target{Name: "numbers", Table: "numbers", Set: set("id", "new.id")}, r.role)
	r.Want("select relrowsecurity, has_table_privilege('"+r.role+"', oid, 'select') from pg_class where relname = 'numbers'", "f|f")
}

// There is no policy to print that would hide rows from Rollcall, nor one of a table that is not there.
func TestPolicyThatHides(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, "create table texts (id text primary key)")
	rollcall, role := b.AsRole("grant select, insert, update, delete on texts to %[1]s")
	texts := &target.Target{Name: "texts", Table: "texts", At: "rollcall.yaml:7:3", Set: set("id", "new.id")}
	hides := fmt.Sprintf(`rollcall.yaml:7:3: target texts: row security would hide the rows of texts from Rollcall's own role, "%s"; `, role)
	for _, tt := range []struct{ before, want string }{
		{"", hides + `connect as the owner, or as an administrator run: alter role "` + role + `" bypassrls`},
		{"alter table texts enable row level security", hides + "connect as the owner, or"},
		{"alter role " + role + " bypassrls", ""},
		{"alter role " + role + " nobypassrls; alter table texts owner to " + role, ""},
		{"alter table texts disable row level security", ""},
		{"alter table texts force row level security", hides + `connect as a role with BYPASSRLS, or run: alter table "public"."texts" no force row level security`},
		{"drop table texts", "rollcall.yaml:7:3: target texts: table texts does not exist"},
	} {
		b.Exec(tt.before)
		script, err := tokens.Tokens{Pool: rollcall.Pool}.Policy(t.Context(), texts, "pg_monitor")
		if tt.want == "" {
			must.Do(t, err)
			continue
		}
		must.True(t, script == "" && err != nil && strings.HasPrefix(err.Error(), tt.want), "after %q: %v, want %s", tt.before, err, tt.want)
	}
}
