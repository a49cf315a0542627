//go:build unix

package doctor_test

// fileFaults are mistakes of the configuration.
var fileFaults = []fault{
	{
		code: "config_syntax", place: "rollcall.yaml:", words: "", remedy: "rollcall.yaml",
		seed: edit("    key: id\n", "    key: [id\n"), after: edit("    key: [id\n", "    key: id\n"),
	},
	{
		code: "config_field", place: "rollcall.yaml:5:5", words: "signing_secret is no field", remedy: "signing_secrets: …",
		seed: edit("signing_secrets: [\"${CLERK", "signing_secret: [\"${CLERK"), after: edit("signing_secret: [", "signing_secrets: ["),
	},
	{
		code: "config_variable", place: "rollcall.yaml:5:23", words: "CLERK_SECRET is not set", remedy: "export CLERK_SECRET=",
		seed:  func(p *patient) { p.variables["CLERK_SECRET"] = "" },
		after: func(p *patient) { p.variables["CLERK_SECRET"] = "whsec_dGVzdC1zZWNyZXQtb2YtY2xlcmstMDAwMQ==" },
	},
	{
		code: "config_value", place: "rollcall.yaml:1:", words: "log.level", remedy: "rollcall.yaml",
		seed: edit("database: $", "log: {level: loud}\ndatabase: $"), after: edit("loud", "info"),
	},
	{
		code: "config_secret", place: "rollcall.yaml:5:23", words: "CLERK_SECRET", remedy: "rollcall.yaml",
		seed:  func(p *patient) { p.variables["CLERK_SECRET"] = "pk_test_123" },
		after: func(p *patient) { p.variables["CLERK_SECRET"] = "whsec_dGVzdC1zZWNyZXQtb2YtY2xlcmstMDAwMQ==" },
	},
	{
		code: "target_table_closed", place: "rollcall.yaml:", words: "auth.users is a table of the provider", remedy: "rollcall.yaml",
		seed: edit("table: public.profiles", "table: auth.users"), after: edit("table: auth.users", "table: public.profiles"),
	},
	{
		code: "target_expression_invalid", place: "rollcall.yaml:18:13", words: "free is no column of new", remedy: `plan: "'free'"`,
		seed: edit(`"'free'"`, "free"), after: edit("plan: free", `plan: "'free'"`),
	},
	{
		code: "target_on_delete_key", place: "rollcall.yaml:19:", words: "is a column of key", remedy: "rollcall.yaml",
		seed:  edit("\"'free'\"\n    on_delete: delete", "\"'free'\"\n    on_delete: {id: null}"),
		after: edit("{id: null}", "delete"),
	},
	{
		code: "target_key_incomplete", place: "rollcall.yaml:13:", words: "doesn't stand in set", remedy: "rollcall.yaml",
		seed:  edit("    key: id\n    set:\n      id: new.id\n      email: new.email\n    on_insert:\n      plan", "    key: uid\n    set:\n      id: new.id\n      email: new.email\n    on_insert:\n      plan"),
		after: edit("    key: uid\n", "    key: id\n"),
	},
	{
		code: "target_key_changes", place: "rollcall.yaml:15:", words: "made from new.email", remedy: "id: new.id",
		seed: edit("      id: new.id\n      email: new.email\n    on_insert:\n      plan", "      id: new.email\n    on_insert:\n      plan"),
	},
}

// targetFaults are found in the catalog.
var targetFaults = []fault{
	{
		code: "target_table_missing", place: "rollcall.yaml:10:", words: "table public.people does not exist", remedy: "rollcall.yaml",
		seed: run("alter table people rename to folk"), after: run("alter table folk rename to people"),
	},
	{
		code: "target_no_table", place: "rollcall.yaml:10:", words: "is not a table but a view", remedy: "rollcall.yaml",
		seed:  both(run("create view persons as select * from people; grant all on persons to %[1]s"), edit("public.people", "public.persons")),
		after: edit("public.persons", "public.people"),
	},
	{
		code: "target_rights", place: "rollcall.yaml:10:", words: "lacks update on public.people", remedy: "grant update on",
		seed: run("revoke update on people from %[1]s"),
	},
	{
		code: "target_row_security", place: "rollcall.yaml:10:", words: "row security is on for public.people", remedy: "bypassrls",
		seed: run("alter table people enable row level security"),
	},
	{
		code: "target_column_missing", place: "rollcall.yaml:16:", words: `public.people has no column "Email"`, remedy: "email: new.email",
		seed: edit("      email: new.email\n    on_insert:\n      plan", "      Email: new.email\n    on_insert:\n      plan"),
	},
	{
		code: "target_column_generated", place: "rollcall.yaml:16:", words: `column "email" is generated`, remedy: "set:\n      id: new.id",
		seed: run("alter table people drop column email; alter table people add email text generated always as (lower(id)) stored"),
	},
	{
		code: "target_column_required", place: "rollcall.yaml:10:", words: "column must of public.people is not null", remedy: `"must" set default`,
		seed: run("alter table people add must text not null"),
	},
	{
		code: "target_key_index", place: "rollcall.yaml:10:", words: "needs a unique index", remedy: `create unique index on "public"."people" ("id")`,
		seed: run("alter table people drop constraint people_pkey"),
	},
	{
		code: "target_match_invalid", place: "rollcall.yaml:10:", words: `match: key column "id" is not null`, remedy: "rollcall.yaml",
		seed:  edit("    table: public.people\n", "    table: public.people\n    match: {column: email}\n"),
		after: edit("    match: {column: email}\n", ""),
	},
	{
		code: "target_match_index", place: "rollcall.yaml:10:", words: "needs an index on all of public.people", remedy: `create index on "public"."people" (lower("email"))`,
		seed: both(run("alter table people drop constraint people_pkey, alter id drop not null, add unique (id)"),
			edit("    table: public.people\n", "    table: public.people\n    match: {column: email}\n")),
	},
	{
		code: "target_key_incomplete", place: "rollcall.yaml:10:", words: "all users would be one row", remedy: "rollcall.yaml",
		seed:  edit("    key: id\n    set:\n      id: new.id\n      email: new.email\n    on_insert:\n      plan", "    key: id\n    set:\n      id: \"'one'\"\n      email: new.email\n    on_insert:\n      plan"),
		after: edit(`"'one'"`, "new.id"),
	},
	{
		code: "target_key_type", place: "rollcall.yaml:15:", words: `key column "id" can't hold the ids of source clerk`, remedy: "type text",
		seed: run("alter table people alter id type uuid using null"),
	},
	{
		code: "target_expression_refused", place: "rollcall.yaml:16:", words: "new.emial does not exist", remedy: "email: new.email",
		seed: edit("      email: new.email\n    on_insert:\n      plan", "      email: new.emial\n    on_insert:\n      plan"),
	},
	{
		code: "target_expression_refused", place: "rollcall.yaml:18:", words: "invalid input value for enum", remedy: "plan: \"'free'\"",
		seed: both(run("create type plan as enum ('free', 'paid'); alter table people alter plan drop default, alter plan type plan using plan::plan, alter plan set default 'free'"),
			edit(`"'free'"`, `"'fre'"`)),
	},
	{
		code: "target_rights", place: "rollcall.yaml:18:", words: "permission denied for table plans", remedy: "grant select on public.plans to",
		seed: both(run("create table plans (name text)"), edit(`"'free'"`, "coalesce((select max(name) from plans), 'free')")),
	},
	{
		code: "target_rights", place: "rollcall.yaml:10:", words: "a sequence that role", remedy: "grant usage on",
		seed: run("alter table people add n bigserial"),
	},
	{
		code: "target_default_refused", place: "rollcall.yaml:10:", words: "division by zero", remedy: "drop default",
		seed: run("alter table people add n int; alter table people alter n set default (1 / 0)"),
	},
	{
		code: "target_reads_itself", place: "rollcall.yaml:18:", words: "the target's own table", remedy: "rollcall.yaml",
		seed:  edit(`"'free'"`, "(select max(plan) from public.people)"),
		after: edit("(select max(plan) from public.people)", `"'free'"`),
	},
	{
		code: "target_text_cast", place: "rollcall.yaml:17:", words: `column "born" is date`, remedy: "::date",
		seed: edit("      email: new.email\n    on_insert:\n      plan", "      email: new.email\n      born: new.raw_user_meta_data->>'born'\n    on_insert:\n      plan"),
	},
	{
		code: "target_on_delete_null", place: "rollcall.yaml:19:", words: `on_delete sets "plan" to null`, remedy: "drop not null",
		seed: edit("\"'free'\"\n    on_delete: delete", "\"'free'\"\n    on_delete: {plan: null}"),
	},
	{
		code: "target_on_delete_unmarked", place: "rollcall.yaml:19:", words: "nothing would tell", remedy: "rollcall.yaml",
		seed:  edit("\"'free'\"\n    on_delete: delete", "\"'free'\"\n    on_delete: {plan: gen_random_uuid()::text}"),
		after: edit("{plan: gen_random_uuid()::text}", "delete"),
	},
	{
		code: "target_reference_blocks", place: "rollcall.yaml:20:", words: "keeps the provider from deleting", remedy: "on delete cascade",
		seed: run("alter table profiles drop constraint profiles_id_fkey; alter table profiles add constraint profiles_id_fkey foreign key (id) references auth.users"),
	},
	{
		code: "target_reference_deletes", place: "rollcall.yaml:20:", words: "on_delete keeps nothing", remedy: "drop constraint",
		seed: edit("\"'customer'\"\n    on_delete: delete", "\"'customer'\"\n    on_delete: keep"),
	},
	{
		code: "target_unchecked", place: "rollcall.yaml:10:3", words: "can't be checked at the moment", remedy: "rollcall.yaml",
		seed:  func(p *patient) { p.held = p.Hold("lock table people in access exclusive mode") },
		after: func(p *patient) { p.held.Run("rollback") },
	},
	{
		code: "reference_unindexed", place: `table public.orders`, words: "orders_person_fkey to public.people has no index", remedy: "create index concurrently on public.orders (person)",
		seed: both(run("create table orders (n int primary key, person text references people)"), sensitive),
	},
}
