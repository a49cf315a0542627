//go:build unix

package doctor_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"rollcall/internal/clerk"
	"rollcall/internal/clerktest"
	"rollcall/internal/doctor"
	"rollcall/internal/source"
)

const appSource = "    signing_secrets: [\"${SUPABASE_SECRET}\"]\n"

// handleNewUser is the pattern that many projects begin with; %s is what it is declared with, and what it writes.
const handleNewUser = `create function public.handle_new_user() returns trigger language plpgsql %s as $$
begin
  insert into %s (id, email, role) values (new.id, new.email, 'customer'); -- not into public.people
  return new;
end $$;
create trigger on_auth_user_created after insert on auth.users for each row execute function public.handle_new_user()`

func oldTrigger(declared, table string) func(*patient) {
	return run(fmt.Sprintf(handleNewUser, declared, table))
}

// usersFaults are those of the provider's table of users, and of what reports its changes.
var usersFaults = []fault{
	{
		code: "users_table_missing", place: "rollcall.yaml:9:5", words: "this database has no table public.accounts", remedy: "users_table: none",
		seed: edit(appSource, appSource+"    users_table: public.accounts\n"),
	},
	{
		code: "users_table_unreadable", place: "table auth.users", words: "may not read auth.users", remedy: "rollcall capture install --print app",
		seed: run("drop schema rollcall_provider cascade"), after: (*patient).capture,
	},
	{
		code: "users_table_hidden", place: "table auth.users", words: "rows may be hidden", remedy: "create policy rollcall on",
		seed: run("drop schema rollcall_provider cascade; grant usage on schema auth to %[1]s; grant select on auth.users to %[1]s"),
	},
	{
		code: "users_table_columns", place: "table auth.users", words: "stay empty in the roll: invited_at", remedy: "grant select (\"invited_at\") on",
		seed: run(`drop schema rollcall_provider cascade; grant usage on schema auth to %[1]s; alter role %[1]s bypassrls;
			do $$ begin execute (select format('grant select (%s) on auth.users to %[1]s', string_agg(quote_ident(attname), ', '))
			from pg_attribute where attrelid = 'auth.users'::regclass and attnum > 0 and attname <> 'invited_at'); end $$`),
	},
	{
		code: "users_table_other", place: "table auth.users", words: "none of 5 users that the roll has", remedy: "users_table: SCHEMA.TABLE",
		seed: run(`insert into rollcall.users (source, id, version, changed_at) select 'app', '00000000-0000-4000-8000-00000000000' || n, 1, now() - interval '1 day'
			from generate_series(1, 5) n`),
		after: func(p *patient) { p.InsertUsers(1, 5) },
	},
	{
		code: "schedule_cannot_read", place: "rollcall.yaml:9:17", words: "the schedule can't reconcile source app", remedy: "rollcall capture install --print app",
		seed:  both(run("drop schema rollcall_provider cascade"), edit(appSource, appSource+"    reconcile: {schedule: \"0 4 * * *\"}\n")),
		after: (*patient).capture,
	},
	{
		code: "session_cannot_read", place: "rollcall.yaml:9:5", words: "just-in-time sync can't look users", remedy: "rollcall capture install --print app",
		seed:  both(run("drop schema rollcall_provider cascade"), edit(appSource, appSource+"    session: {issuer: \"http://127.0.0.1:1/auth/v1\"}\n")),
		after: (*patient).capture,
	},
	{
		code: "capture_disabled", place: "table auth.users", words: "is disabled", remedy: "enable trigger rollcall_capture",
		seed: run("alter table auth.users disable trigger rollcall_capture"),
	},
	{
		code: "capture_other_source", place: "table auth.users", words: "for source web, not for app", remedy: "rollcall capture remove app",
		seed: run(`drop trigger rollcall_capture on auth.users; create constraint trigger rollcall_capture after insert or update or delete on auth.users
			deferrable initially deferred for each row execute function rollcall_provider.capture('web')`),
		after: (*patient).capture,
	},
	{
		code: "capture_old", place: "table auth.users", words: "of an older version", remedy: "rollcall capture install app",
		seed: run(`drop trigger rollcall_capture on auth.users; create trigger rollcall_capture after insert or update or delete on auth.users
			for each row execute function rollcall.capture('app')`),
		after: (*patient).capture,
	},
	{
		code: "capture_waits", place: "table rollcall_provider.outbox", words: "1 changes of source app wait", remedy: "rollcall serve",
		seed:  run("insert into rollcall_provider.outbox (source, user_id, gone, at) values ('app', '00000000-0000-4000-8000-000000000001', false, now() - interval '1 hour')"),
		after: run("delete from rollcall_provider.outbox"),
	},
	{
		code: "source_unfed", place: "rollcall.yaml:6:3", words: "nothing reports the changes of source app", remedy: "rollcall capture install app",
		seed:  both(run("drop trigger rollcall_capture on auth.users"), edit(appSource, "")),
		after: (*patient).capture,
	},
	{
		code: "source_unfed", place: "rollcall.yaml:3:3", words: "nothing reports the changes of source clerk", remedy: "signing_secrets:",
		seed: edit("    signing_secrets: [\"${CLERK_SECRET}\"]\n", ""), fill: map[string]string{"CLERK_WEBHOOK_SIGNING_SECRET": "CLERK_SECRET"},
	},
	{
		code: "source_hooks_only", place: "rollcall.yaml:6:3", words: "hooks alone report source app", remedy: "rollcall capture install app",
		seed: run("drop trigger rollcall_capture on auth.users"), after: (*patient).capture,
	},
	{
		code: "trigger_writes_target", place: "trigger on_auth_user_created on auth.users", words: "writes public.profiles, the table of target profiles", remedy: `drop trigger "on_auth_user_created"`,
		seed: oldTrigger("security definer set search_path = ''", "public.profiles"),
	},
	{
		code: "trigger_writes_target", place: "trigger on_auth_user_created on auth.users", words: "writes public.profiles", remedy: `drop trigger`,
		seed: oldTrigger("security definer set search_path = public", `"profiles"`),
	},
	{
		code: "trigger_search_path", place: "function handle_new_user()", words: `writes "profiles" without its schema`, remedy: "set search_path = public, pg_temp",
		seed: oldTrigger("security definer", "profiles"),
	},
	{
		code: "trigger_search_path", place: "function handle_new_user()", words: "without a search_path of its own", remedy: "set search_path = public, pg_temp",
		seed: oldTrigger("security definer", "public.profiles"),
	},
	{
		code: "trigger_rights", place: "function handle_new_user()", words: "may not write public.profiles", remedy: "grant select, insert, update on",
		seed: both(oldTrigger("security definer set search_path = ''", "public.profiles"), func(p *patient) {
			p.Exec("alter function handle_new_user() owner to " + p.NewRole("", ""))
		}),
	},
}

// receipts are rows of so many days back, from the most to the least, of so many requests.
func received(source, secret string, days [2]int, requests int) func(*patient) {
	return func(p *patient) {
		p.Exec(fmt.Sprintf(`insert into rollcall.receipts (source, endpoint, secret, day, requests, last_at)
select '%[1]s', 'webhook', '%[2]s', (now() at time zone 'UTC')::date - n, %[5]d, case when %[5]d > 0 then now() - n * interval '1 day' end
from generate_series(%[4]d, %[3]d) n`, source, secret, days[0], days[1], requests))
	}
}

// marked is received for a secret of the source clerk.
func marked(secret, from, to, requests int) func(*patient) {
	return func(p *patient) {
		s, db := p.open()
		db.Close()
		received("clerk", s.Sources[0].Marks(source.Hook)[secret], [2]int{from, to}, requests)(p)
	}
}

// twoSecrets gives the source clerk another secret.
func twoSecrets(p *patient) {
	p.variables["NEW_SECRET"] = "whsec_dGVzdC1zZWNyZXQtb2YtY2xlcmstMDAwMg=="
	edit(`["${CLERK_SECRET}"]`, `["${CLERK_SECRET}", "${NEW_SECRET}"]`)(p)
}

// receiptFaults are those of what the sources send.
var receiptFaults = []fault{
	{
		code: "source_silent", place: "rollcall.yaml:3:3", words: "has verified nothing since", remedy: "rollcall reconcile clerk",
		seed: both(marked(0, 12, 5, 3), marked(0, 4, 0, 0)), after: run("update rollcall.receipts set last_at = now() where day = (now() at time zone 'UTC')::date"),
	},
	{
		code: "source_unverified", place: "rollcall.yaml:3:3", words: "4 of 30 requests at the webhook endpoint", remedy: "signing_secrets:",
		seed: both(marked(0, 0, 0, 26), received("clerk", "none", [2]int{0, 0}, 4)), after: marked(0, 1, 1, 40),
	},
	{
		code: "secret_unused", place: "rollcall.yaml:5:23", words: "has never verified anything", remedy: "rollcall.yaml",
		seed: marked(0, 5, 0, 0), after: run("update rollcall.receipts set requests = 1"),
	},
	{
		code: "secret_unused", place: "rollcall.yaml:5:23", words: "while another one does", remedy: `signing_secrets: ["${NEW_SECRET}"]`,
		seed: both(twoSecrets, marked(0, 9, 6, 3), marked(0, 5, 0, 0), marked(1, 6, 0, 9)),
	},
}

// providerFaults are those that the providers' APIs show.
var providerFaults = []fault{
	{
		code: "api_key_kind", place: "rollcall.yaml:7:11", words: "a development instance's", remedy: "api: {key:",
		seed:  both(withAPI, edit("    api:", "    session: {issuer: \"https://clerk.example.com\"}\n    api:")),
		after: edit("sk_test_x", "sk_live_x"),
	},
	{
		code: "api_key_refused", place: "rollcall.yaml:6:11", words: "the provider refuses the key", remedy: "api: {key:",
		seed:  both(withAPI, asks(func(*clerktest.Clerk) string { return "sk_test_wrong" })),
		after: asks((*clerktest.Clerk).Key),
	},
	{
		code: "api_other_instance", place: "rollcall.yaml:6:11", words: "knows none of 5 users", remedy: "api: {key:",
		seed: both(withAPI, asks((*clerktest.Clerk).Key), run(`insert into rollcall.users (source, id, version, changed_at)
			select 'clerk', 'user_' || n, 1, now() - interval '1 day' from generate_series(1, 5) n`)),
		after: run("delete from rollcall.users"),
	},
	{
		code: "api_unreachable", place: "rollcall.yaml:6:11", words: "no answer", remedy: "curl -sS",
		seed: both(withAPI, func(p *patient) {
			p.change = func(c *doctor.Config) {
				c.APIs["clerk"] = clerk.New(clerk.Config{Key: "sk_test_x", URL: "http://127.0.0.1:1/v1"})
			}
		}),
		after: asks((*clerktest.Clerk).Key),
	},
	{
		code: "auth_server_old", place: "rollcall.yaml:", words: "the auth server is v2.186.0", remedy: "when_unavailable: admit",
		seed: func(p *patient) { authServer(p, "v2.186.0") },
	},
	{
		code: "auth_server_old", place: "rollcall.yaml:", words: "the auth server is v2.186.0", remedy: "v2.187.0",
		seed: func(p *patient) {
			authServer(p, "v2.186.0")
			edit("    when_unavailable: refuse\n", "    admission: {deny_domains: [evil.example]}\n")(p)
		},
		after: edit("    admission: {deny_domains: [evil.example]}\n", ""),
	},
	{
		code: "auth_server_autoconfirm", place: "rollcall.yaml:", words: "calls each address verified and sends no mail", remedy: "rollcall.yaml",
		seed: func(p *patient) {
			authServer(p, "v2.187.0")
			run("alter table people drop constraint people_pkey, alter id drop not null, add unique (id); create index on people (lower(email))")(p)
			edit("    table: public.people\n    from: [clerk]\n", "    table: public.people\n    from: [clerk, app]\n    match: {column: email}\n")(p)
		},
		after: edit("    match: {column: email}\n", ""),
	},
}

// admissionFaults are those of the rules about sign-ups.
var admissionFaults = []fault{
	{
		code: "config_value", place: "rollcall.yaml:9:36", words: "the file can't be read: no such file", remedy: "rollcall.yaml",
		seed: edit(appSource, appSource+"    admission: {deny_domains_file: denied-missing.txt}\n"), after: edit("deny_domains_file: denied-missing.txt", "deny_domains: [evil.example]"),
	},
	{
		code: "config_value", place: "rollcall.yaml:9:36", words: "the file has no domain", remedy: "rollcall.yaml",
		seed: edit(appSource, appSource+"    admission: {deny_domains_file: /dev/null}\n"), after: edit("deny_domains_file: /dev/null", "deny_domains: [evil.example]"),
	},
	{
		code: "admission_closed", place: "rollcall.yaml:8:5", words: "no secret for the hook", remedy: "signing_secrets:",
		seed: edit(appSource, "    admission: {deny_domains: [evil.example]}\n"), after: edit("    admission:", appSource+"    admission:"),
	},
	{
		code: "admission_both", place: "rollcall.yaml:9:17", words: "allows mail.evil.example, which it denies", remedy: "rollcall.yaml",
		seed: edit(appSource, appSource+"    admission: {allow_domains: [example.com, mail.evil.example], deny_domains: [Evil.example]}\n"), after: edit(", mail.evil.example]", "]"),
	},
	{
		code: "admission_slow", place: "rollcall.yaml:9:26", words: "the condition of source app took", remedy: "rollcall send app before-user-created --dry-run",
		seed: edit(appSource, appSource+"    admission: {require: pg_sleep(0.25) is not null}\n"), after: edit("pg_sleep(0.25)", "pg_sleep(0)"),
	},
	{
		code: "admission_slow", place: "rollcall.yaml:9:26", words: "the condition of source app took", remedy: "rollcall send app before-user-created --dry-run",
		seed: edit(appSource, appSource+"    admission: {require: pg_sleep(9) is not null}\n"), after: edit("pg_sleep(9)", "pg_sleep(0)"),
	},
	{
		code: "target_expression_refused", place: "rollcall.yaml:9:26", words: "new.emial does not exist", remedy: "rollcall.yaml",
		seed: edit(appSource, appSource+"    admission: {require: new.emial is not null}\n"), after: edit("new.emial", "new.email"),
	},
	{
		code: "target_expression_refused", place: "rollcall.yaml:9:26", words: "argument of WHERE must be type boolean", remedy: "rollcall.yaml",
		seed: edit(appSource, appSource+"    admission: {require: new.email}\n"), after: edit("new.email}", "new.email is null}"),
	},
	{
		code: "target_rights", place: "rollcall.yaml:9:26", words: "permission denied for table invites", remedy: "grant select on public.invites to",
		seed: both(run("create table invites (email text)"), edit(appSource, appSource+"    admission: {require: \"exists (select from public.invites i where i.email = new.email)\"}\n")),
	},
}

// withAPI gives the source clerk an API.
func withAPI(p *patient) {
	edit("    signing_secrets: [\"${CLERK_SECRET}\"]\n", "    signing_secrets: [\"${CLERK_SECRET}\"]\n    api: {key: \"sk_test_x\"}\n")(p)
}

// asks puts a stand-in for Clerk behind the API, with a key.
func asks(key func(*clerktest.Clerk) string) func(*patient) {
	return func(p *patient) {
		stand := clerktest.New(p.T)
		api := clerk.New(clerk.Config{Key: key(stand), URL: clerktest.Address, Client: stand.Client()})
		p.change = func(c *doctor.Config) { c.APIs["clerk"] = api }
	}
}

// authServer is the issuer of the source app, and says a version of itself.
func authServer(p *patient, version string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"version": %q, "name": "GoTrue", "mailer_autoconfirm": true}`, version)
	}))
	p.T.Cleanup(server.Close)
	edit(appSource, appSource+"    when_unavailable: refuse\n    session: {issuer: \""+server.URL+"\"}\n")(p)
}
