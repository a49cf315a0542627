package config

import (
	"strings"
	"testing"

	"rollcall/internal/must"
)

// mistake is a file and the lines of its problems.
type mistake struct {
	name string
	file string
	vars map[string]string
	want []string
}

func runMistakes(t *testing.T, tests []mistake) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, problems := Load("r.yaml", []byte(tt.file), environment(tt.vars))
			var got []string
			if len(problems) > 0 {
				got = strings.Split(problems.Error(), "\n")
			}
			must.Equal(t, got, tt.want, "problems")
		})
	}
}

const knownTop = "known here: database, listen, admin_listen, admin_token, admin_tokens, admin_hosts, sources, targets, notify, limits, retry, retention, sync, log"

func TestFields(t *testing.T) {
	db := "database: a=b\n"
	runMistakes(t, []mistake{
		{"unknown near miss", db + "lissten: :80\n", nil, []string{
			"r.yaml:2:1: lissten is no field of the configuration; did you mean listen? " + knownTop}},
		{"as others call it", db + "server: :80\nsources: {s: {provider: supabase, webhook_secret: x}}\n", nil, []string{
			"r.yaml:2:1: server is no field of the configuration; did you mean listen? " + knownTop,
			"r.yaml:3:35: sources.s.webhook_secret is no field of the configuration; did you mean signing_secrets? " +
				"known here: provider, signing_secrets, instance_id, api, session, reconcile, when_unavailable, admission, users_table, claims, database_webhook"}},
		{"letters swapped", db + "lsiten: :80\n", nil, []string{
			"r.yaml:2:1: lsiten is no field of the configuration; did you mean listen? " + knownTop}},
		{"short token", db + "admin_token: abcde\n", nil, []string{
			"r.yaml:2:14: admin_token: the value is shorter than 16 characters and can be guessed; write a long random one, as openssl rand -hex 32 prints"}},
		{"short token of a holder", db + "admin_tokens: {alice: abcde, Bob: 0123456789abcdefg}\n", nil, []string{
			"r.yaml:2:23: admin_tokens.alice: the value is shorter than 16 characters and can be guessed; write a long random one, as openssl rand -hex 32 prints",
			`r.yaml:2:30: "Bob" is no name for a token; use a lower-case letter, then at most 62 of a-z, 0-9, _ and -`}},
		{"tokens without a name", db + "admin_tokens: [0123456789abcdefg]\n", nil, []string{
			`r.yaml:2:15: admin_tokens is a list; write a map of tokens by name, such as {alice: "${ALICE_TOKEN}"}`}},
		{"tokens of the same holder", db + "admin_token: 0123456789abcdefg\nadmin_tokens: {admin: 0123456789abcdefh, bob: 0123456789abcdefg}\n", nil, []string{
			"r.yaml:3:16: admin_tokens.admin has the name of the holder of admin_token; give it another name, or leave admin_token out",
			"r.yaml:3:42: admin_tokens.bob has the token of admin too; give each holder a token of their own"}},
		{"host with a port", db + "admin_hosts: [Rollcall.example.com:80]\n", nil, []string{
			`r.yaml:2:15: admin_hosts: "Rollcall.example.com:80" is no host name; write it in lower case and without a port, such as rollcall.example.com`}},
		{"unknown far", db + "zookeeper: x\n", nil, []string{
			"r.yaml:2:1: zookeeper is no field of the configuration; " + knownTop}},
		{"unknown strange name", db + "\"a\\nb\": x\n", nil, []string{
			`r.yaml:2:1: "a\nb" is no field of the configuration; ` + knownTop}},
		{"comma leaves a name", db + "limits: {wait: 1s, 2s}\n", nil, []string{
			"r.yaml:2:20: limits holds a name without a value here; " + hintFlow}},
		{"database missing", "listen: :80\n", nil, []string{
			`r.yaml:1:1: database is missing; add "database: …", the connection string of the PostgreSQL database that holds the roll and the targets`}},
		{"database wrong", "database: hunter2\n", nil, []string{
			"r.yaml:1:11: database: the value is no connection string; write postgres://user:password@host:5432/database or host=… dbname=…"}},
		{"twice", db + "listen: :80\nlisten: :x\n", nil, []string{
			"r.yaml:3:1: listen stands twice; the first is in line 2, keep one"}},
		{"wrong kinds", db + "listen: 8080\nlimits: [a]\nretry: {attempts: many}\nlog: {level: {}}\nadmin_token:\n", nil, []string{
			"r.yaml:2:9: listen is a number; write a text (a number or true as text wants quotes)",
			"r.yaml:3:9: limits is a list; write a map of body, metadata, queue, wait, lock_timeout, statement_timeout",
			`r.yaml:4:19: retry.attempts: "many" is no whole number from 1 to 2147483647; write one`,
			"r.yaml:5:14: log.level is a map; write debug, info, warn or error",
			"r.yaml:6:1: admin_token has no value; give it a text (a number or true as text wants quotes), or leave it out"}},
		{"sizes and durations", db + "limits: {body: 1MB, queue: 0, wait: 4x, lock_timeout: 0s, statement_timeout: 5}\n", nil, []string{
			`r.yaml:2:16: limits.body: "1MB" is no size; write 1MiB, 512KiB or a number of bytes`,
			`r.yaml:2:28: limits.queue: "0" is no whole number from 1 to 2147483647; write one`,
			`r.yaml:2:37: limits.wait: "4x" is no duration above zero; write it like 800ms, 4s, 12h or 7d`,
			`r.yaml:2:55: limits.lock_timeout: "0s" is no duration above zero; write it like 800ms, 4s, 12h or 7d`,
			`r.yaml:2:78: limits.statement_timeout: "5" is no duration above zero; write it like 800ms, 4s, 12h or 7d`}},
		{"too large", db + "limits: {body: 99999999999GiB}\nretention: {events: 99999d2562047h, bodies: 7d-1h}\n", nil, []string{
			`r.yaml:2:16: limits.body: "99999999999GiB" is too small or too large for a size; write one such as 1MiB`,
			`r.yaml:3:21: retention.events: "99999d2562047h" is no duration above zero; write it like 800ms, 4s, 12h or 7d`,
			`r.yaml:3:45: retention.bodies: "7d-1h" is no duration above zero; write it like 800ms, 4s, 12h or 7d`}},
		{"addresses", db + "listen: \"8080\"\nadmin_listen: localhost:99999\n", nil, []string{
			`r.yaml:2:9: listen: "8080" is no address to listen on; write host:port or :port with a port up to 65535`,
			`r.yaml:3:15: admin_listen: "localhost:99999" is no address to listen on; write host:port or :port with a port up to 65535`}},
		{"one address", db + "listen: :80\nadmin_listen: :80\n", nil, []string{
			"r.yaml:3:1: admin_listen is the address of listen too; give it its own, such as 127.0.0.1:8081"}},
		{"any ports", db + "listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0\n", nil, nil},
		{"choices", db + "log: {level: loud, format: xml}\n", nil, []string{
			`r.yaml:2:14: log.level: "loud" is not known here; write debug, info, warn or error`,
			`r.yaml:2:28: log.format: "xml" is not known here; write json or text`}},
		{"origins as browsers don't send them", db + "sync: {origins: [https://A.example, \"https://a.example:443\", \"http://a.example:443\"]}\n", nil, []string{
			`r.yaml:2:18: sync.origins: "https://A.example" is not as browsers send it: in lower case, and without the usual port 443`,
			`r.yaml:2:37: sync.origins: "https://a.example:443" is not as browsers send it: in lower case, and without the usual port 443`}},
		{"origins", db + "sync: {origins: [https://a.example/x, a.example, \"\"]}\n", nil, []string{
			`r.yaml:2:18: sync.origins: "https://a.example/x" is no origin; write scheme, host and port only, like https://app.example.com`,
			`r.yaml:2:39: sync.origins: "a.example" is no origin; write scheme, host and port only, like https://app.example.com`,
			`r.yaml:2:50: sync.origins: "" is empty; give it a value, or leave it out`}},
		{"empty list and map", db + "sync: {origins: []}\nsources: {}\n", nil, []string{
			"r.yaml:2:17: sync.origins is empty; add an item, or leave it out",
			"r.yaml:3:10: sources is empty; add a source, or leave sources out"}},
	})
}

func TestSources(t *testing.T) {
	head := "database: a=b\nsources:\n"
	runMistakes(t, []mistake{
		{"name and provider", head + "  Clerk: {provider: okta}\n  x: {}\n", nil, []string{
			`r.yaml:3:3: "Clerk" is no name for a source; use a lower-case letter, then at most 62 of a-z, 0-9, _ and -`,
			`r.yaml:3:21: sources.Clerk.provider: "okta" is not known here; write clerk or supabase`,
			`r.yaml:4:3: sources.x.provider is missing; add "provider: …", the sender of the events, clerk or supabase`}},
		{"provider in capitals", head + "  c: {provider: Clerk, when_unavailable: admit}\n", nil, []string{
			`r.yaml:3:17: sources.c.provider: "Clerk" is not known here; did you mean clerk? Write clerk or supabase`}},
		{"a list of sources", head + "- name: clerk\n  provider: clerk\n", nil, []string{
			"r.yaml:3:1: sources is a list; write a map of sources by name, without -: each name with a colon, its fields below it"}},
		{"fields of supabase", head + "  c:\n    provider: clerk\n    when_unavailable: admit\n    users_table: auth.users\n    database_webhook: {secrets: [0123456789abcdefx]}\n", nil, []string{
			"r.yaml:5:5: sources.c.when_unavailable belongs to sources of supabase only; leave it out",
			"r.yaml:6:5: sources.c.users_table belongs to sources of supabase only; leave it out",
			"r.yaml:7:5: sources.c.database_webhook belongs to sources of supabase only; leave it out"}},
		{"fields of clerk", head + "  s:\n    provider: supabase\n    instance_id: ins_1\n    api: {key: k}\n    when_unavailable: maybe\n", nil, []string{
			"r.yaml:5:5: sources.s.instance_id belongs to sources of clerk only; leave it out",
			"r.yaml:6:5: sources.s.api belongs to sources of clerk only; leave it out",
			`r.yaml:7:23: sources.s.when_unavailable: "maybe" is not known here; write admit or refuse`}},
		{"inside", head + "  c:\n    provider: clerk\n    api: {url: api.clerk.com}\n    session: {authorized_parties: [x]}\n    reconcile: {schedule: 0 3 * *, max_delete: 5}\n", nil, []string{
			`r.yaml:5:5: sources.c.api.key is missing; add "key: …", the secret key of the API`,
			`r.yaml:5:16: sources.c.api.url: "api.clerk.com" is no web address; write it like https://app.example.com/path`,
			`r.yaml:6:5: sources.c.session.issuer is missing; add "issuer: …", the issuer of the tokens, iss, exactly`,
			`r.yaml:6:36: sources.c.session.authorized_parties: "x" is no origin; write scheme, host and port only, like https://app.example.com`,
			`r.yaml:7:27: sources.c.reconcile.schedule: "0 3 * *" has 4 fields; a schedule has five: minute, hour, day, month, weekday, like "0 3 * * *"`,
			`r.yaml:7:48: sources.c.reconcile.max_delete: "5" is no percentage from 0% to 100%; write one such as 5%`}},
		{"publishable key", head + "  c:\n    provider: clerk\n    api: {key: \"${CLERK_KEY}\"}\n", map[string]string{"CLERK_KEY": "pk_live_abc"}, []string{
			"r.yaml:5:16: sources.c.api.key: the value is Clerk's publishable key, which opens nothing; copy the secret key, which starts with sk_"}},
		{"schedule without the api", head + "  c:\n    provider: clerk\n    reconcile: {max_delete: 6%, schedule: 0 3 * * *}\n", nil, []string{
			`r.yaml:5:33: sources.c.reconcile.schedule wants the API, which lists the users; add api: {key: "${CLERK_SECRET_KEY}"} to the source, or leave the schedule out`}},
		{"no schedule, no api", head + "  c:\n    provider: clerk\n    reconcile: {max_delete: 6%}\n", nil, nil},
		{"schedule 0 24 * * *", head + "  c:\n    provider: clerk\n    api: {key: k}\n    reconcile: {schedule: 0 24 * * *}\n", nil, []string{
			`r.yaml:6:27: sources.c.reconcile.schedule: "0 24 * * *" is no schedule (end of range (24) above maximum (23): 24); write minute, hour, day, month, weekday with * or numbers, like "0 3 * * *"`}},
		{"schedule 0 3 31 2 *", head + "  c:\n    provider: clerk\n    api: {key: k}\n    reconcile: {schedule: 0 3 31 2 *}\n", nil, []string{
			`r.yaml:6:27: sources.c.reconcile.schedule: "0 3 31 2 *" names a day that never comes; write minute, hour, day, month, weekday, like "0 3 * * *"`}},
		{"schedule TZ=Asia/Tokyo 0 3 * *", head + "  c:\n    provider: clerk\n    api: {key: k}\n    reconcile: {schedule: TZ=Asia/Tokyo 0 3 * *}\n", nil, []string{
			`r.yaml:6:27: sources.c.reconcile.schedule: "TZ=Asia/Tokyo 0 3 * *" is no schedule (expected exactly 5 fields, found 4: [0 3 * *]); write minute, hour, day, month, weekday with * or numbers, like "0 3 * * *"`}},
		{"database webhook", head + "  s:\n    provider: supabase\n    database_webhook: {header: \"a b\", secrets: [x]}\n", nil, []string{
			`r.yaml:5:32: sources.s.database_webhook.header: "a b" is no name of an HTTP header; use letters, digits and -`}},
		{"database webhook empty", head + "  s:\n    provider: supabase\n    database_webhook: {secrets: []}\n", nil, []string{
			"r.yaml:5:33: sources.s.database_webhook.secrets is empty; add an item, or leave it out"}},
		{"database webhook without", head + "  s:\n    provider: supabase\n    database_webhook: {}\n", nil, []string{
			`r.yaml:5:5: sources.s.database_webhook.secrets is missing; add "secrets: …", the values of the header that are let in, at least 16 characters`}},
		{"secrets as text", head + "  s: {provider: supabase, signing_secrets: \"${SUPABASE_AUTH_HOOK_SECRET}\"}\n", nil, []string{
			"r.yaml:3:44: sources.s.signing_secrets is text; write a list such as [a, b]"}},
	})
}

func TestTargets(t *testing.T) {
	head := "database: a=b\nsources:\n  a: {provider: clerk}\n  b: {provider: supabase}\ntargets:\n"
	ok := "    table: t\n    key: id\n    set: {id: new.id}\n    on_delete: keep\n"
	runMistakes(t, []mistake{
		{"everything missing", head + "  t: {}\n", nil, []string{
			`r.yaml:6:3: targets.t.table is missing; add "table: …", the table, exactly as in the catalog: public.User is "User"`,
			`r.yaml:6:3: targets.t.key is missing; add "key: …", the column or columns with a unique index`,
			`r.yaml:6:3: targets.t.set is missing; add "set: …", the map of column to SQL expression over new`,
			`r.yaml:6:3: targets.t.on_delete is missing; add "on_delete: …", the fate of a deleted user's row: delete, keep or a map of columns to set`}},
		{"no sources", "database: a=b\ntargets:\n  t:\n    from: [a]\n" + ok, nil, []string{
			"r.yaml:2:1: targets have no sources to follow; add sources"}},
		{"from", head + "  t:\n    from: [a, bb, a, \"${CLERK_SECRET_KEY}\"]\n" + ok, nil, []string{
			`r.yaml:7:15: targets.t.from: "bb" is no source; known here: a, b`,
			`r.yaml:7:19: targets.t.from: "a" stands twice; keep one`,
			"r.yaml:7:22: targets.t.from: the value of ${CLERK_SECRET_KEY} is no source; known here: a, b"}},
		{"from a source without the roll", head + "  t:\n    roll: memberships\n    from: [a, b]\n" + ok, nil, []string{
			"r.yaml:8:15: targets.t.from: a source of supabase has no memberships; name sources of clerk"}},
		{"a roll that no source has", "database: a=b\nsources: {supabase: {provider: supabase}}\ntargets:\n  t:\n    roll: organizations\n" + ok, nil, []string{
			"r.yaml:5:11: targets.t.roll: no source has organizations; they come from a source of clerk"}},
		{"a roll that some sources have", head + "  t:\n    roll: memberships\n" + ok, nil, nil},
		{"from near miss", "database: a=b\nsources: {supabase: {provider: supabase}}\ntargets:\n  t:\n    from: [supabse]\n" + ok, nil, []string{
			`r.yaml:5:12: targets.t.from: "supabse" is no source; did you mean supabase? known here: supabase`}},
		{"key", head + "  t:\n    table: a.b.c\n    key: [id, id, \"${CLERK_SECRET_KEY}\"]\n    set: {id: new.id}\n    on_delete: drop\n", nil, []string{
			`r.yaml:7:12: targets.t.table: "a.b.c" is no table; write schema.table, or table for one in public`,
			`r.yaml:8:15: targets.t.key: "id" stands twice; keep one`,
			"r.yaml:8:19: targets.t.key: the value of ${CLERK_SECRET_KEY} doesn't stand in set; add it there, from new.source, new.id or constants",
			`r.yaml:10:16: targets.t.on_delete: "drop" is not known here; write delete, keep or a map of columns to set`}},
		{"key with a broken expression", head + "  t:\n    table: '\"T\"'\n    key: id\n    set:\n      id: lower(new.id\n    on_delete: [x]\n", nil, []string{
			`r.yaml:7:12: targets.t.table: "\"T\"" holds double quotes; write the name exactly as in the catalog, without quotes`,
			"r.yaml:10:11: targets.t.set.id: ( is never closed in this expression; if it looks whole in the file, YAML took \" #\" for a comment: " + hintQuotes,
			"r.yaml:11:16: targets.t.on_delete is a list; write delete, keep or a map of columns to set"}},
		{"a line break in a name", head + "  t:\n    table: \"a\\nb\"\n    key: id\n    set: {id: new.id}\n    on_delete: keep\n", nil, []string{
			`r.yaml:7:12: targets.t.table: "a\nb" holds a control character, such as a line break`}},
		{"both", head + "  t:\n" + ok + "    on_insert: {id: new.id}\n", nil, []string{
			"r.yaml:11:17: targets.t.on_insert.id stands in set too; keep it in one of them"}},
		{"where", head + "  t:\n    table: t\n    key: id\n    set: {id: new.id}\n    on_delete:\n      id: null\n      deleted_at: now()\n    where: new.email is not null\n", nil, []string{
			"r.yaml:11:7: targets.t.on_delete.id is a column of key, which never changes; leave it out",
			"r.yaml:12:7: targets.t.on_delete.deleted_at must stand in set too (such as deleted_at: null), because the target has where: else one who matches again isn't whole"}},
		{"on_delete without where", head + "  t:\n    table: t\n    key: id\n    set: {id: new.id}\n    on_delete: {deleted_at: now()}\n", nil, nil},
		{"empty maps", head + "  t:\n    table: t\n    key: []\n    set: {}\n    on_delete: {}\n", nil, []string{
			"r.yaml:8:10: targets.t.key is empty; add an item, or leave it out",
			"r.yaml:9:10: targets.t.set is empty; add a column, or leave it out",
			"r.yaml:10:16: targets.t.on_delete is empty; add a column, or leave it out"}},
		{"column names", head + "  t:\n    table: t\n    key: id\n    set:\n      id: new.id\n      '\"Name\"': new.id\n      null: new.id\n    on_delete: keep\n", nil, []string{
			`r.yaml:11:7: targets.t.set: "\"Name\"" holds double quotes; write the name exactly as in the catalog, without quotes`,
			"r.yaml:12:7: YAML reads the name null as a value; put it in double quotes"}},
		{"one table", head + "  t:\n" + ok + "  u:\n    from: [a]\n" + strings.Replace(ok, "table: t", "table: public.t", 1), nil, []string{
			"r.yaml:13:12: targets.u.table is the table of targets.t too, and their sources overlap; give them different sources with from, or make them one target"}},
		{"one table, apart", head + "  t:\n    from: [b]\n" + ok + "  u:\n    from: [a]\n" + ok, nil, nil},
		{"one table in two schemas", head + "  t:\n" + ok + "  u:\n" + strings.Replace(ok, "table: t", "table: x.t", 1), nil, nil},
		{"one table, from unreadable", head + "  t:\n" + ok + "  u:\n    from: [\"${NOPE}\"]\n" + ok, nil, []string{
			"r.yaml:12:12: targets.u.from: NOPE is not set; set NOPE, or NOPE_FILE to the path of a file that holds it"}},
	})
}

// TestEveryMistakeAtOnce holds one mistake per line, and a problem for each.
func TestEveryMistakeAtOnce(t *testing.T) {
	file := `databse: a=b
listen: nowhere
limits: {body: big, queue: -1}
retry: {attempts: 1.5}
log: {format: yaml}
sources:
  clerk:
    provider: clerk
    signing_secrets: ["${SUPABASE_AUTH_HOOK_SECRET}"]
    when_unavailable: admit
    reconcile: {schedule: daily, max_delete: 101%}
  supabase:
    provider: supabase
    provider: clerk
    signing_secrets: ["${NOT_SET}"]
targets:
  Profiles:
    table: profiles
    from: [supabas]
    key: uid
    set: {id: new.id, name: coalesce(new.full_name, new.email)}
    on_insert: {id: new.id}
    where: lower(new.email
`
	_, problems := Load("r.yaml", []byte(file), environment(nil))
	var got []string
	for _, p := range problems {
		where, _, _ := strings.Cut(p.Error(), " ")
		got = append(got, where)
	}
	want := strings.Fields(`
		r.yaml:1:1: r.yaml:1:1: r.yaml:2:9: r.yaml:3:16: r.yaml:3:28: r.yaml:4:19: r.yaml:5:15: r.yaml:10:5:
		r.yaml:11:17: r.yaml:11:27: r.yaml:11:46: r.yaml:14:5: r.yaml:15:23: r.yaml:17:3: r.yaml:17:3: r.yaml:19:12: r.yaml:20:10:
		r.yaml:21:29: r.yaml:22:17: r.yaml:23:12:`)
	must.Equal(t, got, want, problems.Error())
}

// The function of a source's claims has a name of its own, which PostgreSQL does not cut.
func TestFunctionsOfClaims(t *testing.T) {
	head, fits, long := "database: a=b\nsources:\n", strings.Repeat("a", 43), strings.Repeat("b", 44)
	runMistakes(t, []mistake{
		{"fine", head + "  a-b: {provider: supabase, claims: {x: 1}}\n  a_c: {provider: supabase, claims: {x: 1}}\n  a_b: {provider: supabase}\n  " + fits + ": {provider: supabase, claims: {x: 1}}\n  " +
			long + ": {provider: supabase}\n", nil, nil},
		{"one function", head + "  a-b: {provider: supabase, claims: {x: 1}}\n  a_b: {provider: supabase, claims: {x: 1}}\n", nil, []string{
			"r.yaml:4:29: sources.a_b.claims: the claims of source a-b have the function rollcall_api.access_token_claims_a_b already; give one of the sources another name"}},
		{"a long name", head + "  " + long + ": {provider: supabase, claims: {x: 1}}\n", nil, []string{
			"r.yaml:3:70: sources." + long + ".claims: PostgreSQL would cut the name of the function rollcall_api.access_token_claims_" + long +
				"; give the source a name of at most 43 characters"}},
	})
}

func TestProblemsOfOthersAreSortedIn(t *testing.T) {
	ps := Problems{{Pos: Pos{"f", 2, 1}, What: "b"}}
	ps.Add(Pos{"f", 1, 9}, "a %d", 1)
	ps.Add(Pos{File: "f"}, "whole file")
	ps.Sort()
	must.Equal(t, ps.Error(), "f: whole file\nf:1:9: a 1\nf:2:1: b", "problems")
}
