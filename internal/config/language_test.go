package config

import (
	"strings"
	"testing"
	"time"

	"rollcall/internal/must"
)

func TestNotYAML(t *testing.T) {
	unread := "YAML can't read what stands here; look at the indentation, and put double quotes around a value with special characters"
	runMistakes(t, []mistake{
		{"empty", "", nil, strings.Split("r.yaml:1:1: the file is empty; the smallest configuration is\n"+smallest, "\n")},
		{"comments only", "# nothing\n", nil, strings.Split("r.yaml:1:1: the file is empty; the smallest configuration is\n"+smallest, "\n")},
		{"null", "~\n", nil, strings.Split("r.yaml:1:1: the file is empty; the smallest configuration is\n"+smallest, "\n")},
		{"a text", "hello\n", nil, []string{
			"r.yaml:1:1: the file is text; write a map of database, listen, admin_listen, admin_token, admin_tokens, admin_hosts, sources, targets, notify, limits, retry, retention, sync, log"}},
		{"two documents", "database: a=b\n---\ndatabase: a=b\n", nil, []string{
			"r.yaml:3:1: a second document starts here; keep one, without --- between"}},
		{"not UTF-8", "database: a=b\nlisten: \xff\n", nil, []string{
			"r.yaml:2:9: this byte is no UTF-8; save the file as UTF-8"}},
		{"variable in a list", "database: a=b\nx: [${NAME}]\n", nil, []string{"r.yaml:2:6: " + hintDollar}},
		{"variable in a map", "database: a=b\nx: {y: ${NAME}}\n", nil, []string{"r.yaml:2:9: " + hintDollar}},
		{"starts with a quote", "x: 'a' || new.b\n", nil, []string{"r.yaml:1:8: " + hintSingle}},
		{"cast of a text", "x: 'a'::text\n", nil, []string{"r.yaml:1:7: " + hintSingle}},
		{"colon", "x: case a: b\n", nil, []string{"r.yaml:1:4: " + hintColon}},
		{"colon in a text", "x: a || ': ' || b\n", nil, []string{"r.yaml:1:12: " + hintColon}},
		{"comma", "x: {y: coalesce(new.a, '')}\n", nil, []string{"r.yaml:1:24: " + hintFlow}},
		{"never ends", "x: \"a\n", nil, []string{"r.yaml:1:4: this quoted text never ends; close it with the quote it starts with"}},
		{"alias for a schedule", "x: * * * * *\n", nil, []string{
			"r.yaml:1:12: YAML reads * as an alias; put double quotes around a value that starts with *"}},
		{"tab", "x:\n\ty: z\n", nil, []string{"r.yaml:2:1: a tab can't indent YAML; use spaces"}},
		{"reserved", "x: @y\n", nil, []string{"r.yaml:1:4: YAML reserves @ and ` at the start of a value; put double quotes around it"}},
		{"secret after a bar", "x: |sk_live_hidden\n", nil, []string{
			"r.yaml:1:4: YAML reads a value that starts with | or > as a text in the lines below; " + hintQuotes}},
		{"other", "x: \"y\" z\n", nil, []string{"r.yaml:1:8: " + unread}},
	})
	c, _ := Load("r.yaml", []byte("x: \"a\n"), Env{})
	must.True(t, c == nil, "a Config without YAML")
	c, _ = Load("r.yaml", nil, Env{})
	must.True(t, c != nil && c.Listen == ":8080", "no Config for an empty file")
}

func TestFinerYAMLIsRefused(t *testing.T) {
	runMistakes(t, []mistake{
		{"anchor", "database: &a a=b\n", nil, []string{
			"r.yaml:1:11: YAML anchors (&name) aren't read; write the value out where it is used, or quote a text that starts with &"}},
		{"alias", "database: a=b\nlisten: *a\n", nil, []string{
			"r.yaml:2:9: YAML aliases (*name) aren't read; write the value out here, or quote a text that starts with *"}},
		{"merge", "database: a=b\n<<: {listen: x}\n", nil, []string{
			"r.yaml:2:1: YAML merge keys (<<) aren't read; write the fields out here"}},
		{"tag", "database: !!str a=b\n", nil, []string{
			"r.yaml:1:11: YAML tags (!name) aren't read; leave the tag out, or quote a text that starts with !"}},
		{"question", "database: a=b\n? listen\n: x\n", nil, []string{
			"r.yaml:2:1: YAML's ? keys aren't read; write name: value"}},
	})
}

// The parser takes every colon in a list within { } for a map's. Only one with a blank behind it is.
func TestColonsInAList(t *testing.T) {
	file := "database: a=b\nsync: {origins: [http://localhost:5173, https://a.example, https://b.example:8443]}\n" +
		"sources: {s: {provider: supabase, database_webhook: {secrets: [made:up-and-long-enough:1, another-made-up:0x1f, 2026:made-up-too]}}}\n"
	c := load(t, file, nil)
	must.Equal(t, c.Sync.Origins, []string{"http://localhost:5173", "https://a.example", "https://b.example:8443"}, "origins")
	for n, want := range []string{"made:up-and-long-enough:1", "another-made-up:0x1f", "2026:made-up-too"} {
		must.Equal(t, c.Sources[0].DatabaseWebhook.Secrets[n].Reveal(), want, "secret")
	}
	must.Equal(t, c.At("sync.origins[0]"), at(2, 18), "place")
	aMap := "r.yaml:2:18: sync.origins is a map; write a text (a number or true as text wants quotes)"
	runMistakes(t, []mistake{
		{"a map", "database: a=b\nsync: {origins: [http://a: 5173]}\n", nil, []string{aMap}},
		{"a map with a quoted key", "database: a=b\nsync: {origins: ['http://a':5173]}\n", nil, []string{aMap}},
		{"a map in braces", "database: a=b\nsync: {origins: [{http://a:5173}]}\n", nil, []string{aMap}},
		{"a list behind it", "database: a=b\nsync: {origins: [a:[5173]]}\n", nil, []string{aMap}},
	})
}

func TestExpressions(t *testing.T) {
	head := "database: a=b\nsources: {a: {provider: clerk}}\ntargets:\n  t:\n    table: t\n    key: id\n    on_delete: keep\n    set:\n      id: new.id\n"
	flow := strings.TrimSuffix(head, "\n      id: new.id\n")
	inFlow := `inside { } a comma ends a value and " #" starts a comment: write one column per line (block style), or ` + hintQuotes
	inPlain := `if it looks whole in the file, YAML took " #" for a comment: ` + hintQuotes
	runMistakes(t, []mistake{
		{"comment", head + "      b: lower(new.a #x)\n", nil, []string{
			"r.yaml:10:10: targets.t.set.b: ( is never closed in this expression; " + inPlain}},
		{"comment in a text", head + "      b: new.a || ' #x'\n", nil, []string{
			"r.yaml:10:10: targets.t.set.b: ' is never closed in this expression; " + inPlain}},
		{"comma", flow + " {id: new.id, b: coalesce(new.a, new.b), c: x}\n", nil, []string{
			"r.yaml:8:26: targets.t.set.b: ( is never closed in this expression; " + inFlow}},
		{"leftover", flow + " {id: new.id, new.b, '' , c: x}\n", nil, []string{
			`r.yaml:8:23: targets.t.set."new.b" has no expression; ` + hintFlow,
			`r.yaml:8:30: targets.t.set."" has no expression; ` + hintFlow}},
		{"single quotes", head + "      b: 'coalesce(new.a, '')'\n", nil, []string{
			"r.yaml:10:10: targets.t.set.b: ' is never closed in this expression; YAML reads '' inside single quotes as one ': " + hintQuotes}},
		{"double quotes", head + "      b: \"lower(new.a))\"\n", nil, []string{
			"r.yaml:10:10: targets.t.set.b: ) closes nothing in this expression; add its partner, or take it out"}},
		{"block", head + "      b: >-\n        lower(new.a\n", nil, []string{
			"r.yaml:10:10: targets.t.set.b: ( is never closed in this expression; add its partner, or take it out"}},
		{"kinds", head + "      b: [a]\n      c: {d: e}\n      f: \"\"\n", nil, []string{
			"r.yaml:10:10: targets.t.set.b is a list; write one SQL expression, in double quotes if it starts with { or [",
			"r.yaml:11:10: targets.t.set.c is a map; write one SQL expression, in double quotes if it starts with { or [",
			`r.yaml:12:10: targets.t.set.f is empty; write an SQL expression, such as null or "''"`}},
		{"variable", head + "      b: lower(${CLERK_SECRET_KEY}\n      c: ${NOPE}\n", nil, []string{
			"r.yaml:10:10: targets.t.set.b: ( is never closed in this expression; " + inPlain,
			"r.yaml:11:10: targets.t.set.c: NOPE is not set; set NOPE, or NOPE_FILE to the path of a file that holds it"}},
	})
}

func TestLiterals(t *testing.T) {
	values := [][2]string{
		{"null", "null"}, {"~", "null"}, {"", "null"}, {"true", "true"}, {"False", "False"}, {"12", "12"}, {"1.50", "1.50"},
		{"-3", "-3"}, {"007", "007"}, {"0x1F", "0x1F"}, {"'free'", "free"}, {`"'free'"`, "'free'"}, {"yes", "yes"},
		{"2020-01-01", "2020-01-01"}, {"${WORD}", "new.x"}, {"new.a || '$${x}'", "new.a || '${x}'"}, {"|\n        a\n        b", "a\nb"},
		{"a <> '#'  # why", "a <> '#'"},
	}
	for _, v := range values {
		file := "database: a=b\nsources: {a: {provider: clerk}}\ntargets:\n  t:\n    table: t\n    key: id\n    on_delete: keep\n    set:\n      id: " + v[0] + "\n"
		got := load(t, file, map[string]string{"WORD": "new.x"}).Targets[0].Set[0].Expr
		must.Equal(t, got.SQL, v[1], v[0])
		if v[0] == "${WORD}" {
			must.Equal(t, got.Written, "${WORD}", "written")
		}
	}
}

func TestUnbalanced(t *testing.T) {
	must.Table(t, unbalanced, map[string]string{
		"":                         "",
		"f(a, ')', \")\")":         "",
		"array[1, f(2)]":           "",
		"f(a]":                     "] closes nothing",
		"(a":                       "( is never closed",
		"a[1":                      "[ is never closed",
		"'it''s'":                  "",
		"'it's'":                   "' is never closed",
		`'\'`:                      "",
		`E'\''`:                    "",
		`e'it''s\''`:               "",
		`type'\'`:                  "",
		`"a""b"`:                   "",
		`"a`:                       `" is never closed`,
		"$$ it's ( $$":             "",
		"$x$ $$ ' $x$":             "",
		"$x$ ' $$":                 "$x$ is never closed",
		"a$b$c":                    "",
		"$1":                       "",
		"a -- (":                   "",
		"a -- '\n || (b)":          "",
		"(a -- (b\r)":              "",
		"E'a'\n'\\') || ('":        "",
		"a /* ( /* ' */ */":        "",
		"a /* b":                   "/* is never closed",
		"a - b / c * d":            "",
		"$é$ ( $é$":                "",
		"new.x->>'it' || chr(39))": ") closes nothing",
	})
}

func TestVariables(t *testing.T) {
	unset := func(name string) string {
		return "r.yaml:1:11: database: " + name + " is not set; set " + name + ", or " + name + "_FILE to the path of a file that holds it"
	}
	bad := "r.yaml:1:11: database: ${ starts no variable here; write ${NAME} with letters, digits and _ only, or $${ for a literal ${"
	runMistakes(t, []mistake{
		{"unset", "database: a=${NOPE}\n", nil, []string{unset("NOPE")}},
		{"empty", "database: a=${EMPTY}\n", nil, []string{unset("EMPTY")}},
		{"two", "database: ${NOPE}=${NOPE2}\n", nil, []string{unset("NOPE"), unset("NOPE2")}},
		{"default", "database: ${X:-a}\n", nil, []string{bad}},
		{"open", "database: a=${X\n", nil, []string{bad}},
		{"no file", "database: ${X}\n", map[string]string{"X_FILE": "/run/hidden-path"}, []string{
			"r.yaml:1:11: database: the file that X_FILE names does not exist; set it to the path of a file that holds the value"}},
		{"no right", "database: ${X}\n", map[string]string{"X_FILE": "/run/locked"}, []string{
			"r.yaml:1:11: database: the file that X_FILE names may not be read by this user; set it to the path of a file that holds the value"}},
		{"blank file", "database: ${X}\n", map[string]string{"X_FILE": "/run/blank"}, []string{
			"r.yaml:1:11: database: the file that X_FILE names is empty; write the value into it"}},
		{"value isn't told", "database: ${X}\nlisten: ${X}\nlimits: {wait: \"${X}\", queue: \"1${X}\"}\n", map[string]string{"X": "hunter2"}, []string{
			"r.yaml:1:11: database: the value of ${X} is no connection string; write postgres://user:password@host:5432/database or host=… dbname=…",
			"r.yaml:2:9: listen: the value of ${X} is no address to listen on; write host:port or :port with a port up to 65535",
			"r.yaml:3:16: limits.wait: the value of ${X} is no duration above zero; write it like 800ms, 4s, 12h or 7d",
			`r.yaml:3:31: limits.queue: "1${X}" is no whole number from 1 to 2147483647; write one`}},
	})
	_, problems := Load("r.yaml", []byte("database: ${X}\n"), Env{})
	must.True(t, len(problems) == 1, "an Env without functions: %v", problems)
}

func TestVariablesAreReplacedAfterParsing(t *testing.T) {
	vars := map[string]string{
		"TOKEN_FILE": "/run/token", "TWO_FILE": "/run/two", "CRLF_FILE": "/run/crlf", "BREAK": "a\nlisten: x # \" ' { [", "NEST": "${BREAK}", "Q": "5", "W": "90s",
	}
	replaced := func(text string) string {
		c := load(t, "database: a=b\nsources: {a: {provider: clerk, session: {issuer: https://a.example, hs256_secret: \""+text+
			"\"}}}\nlimits: {queue: \"${Q}\", wait: \"${W}\"}\n", vars)
		must.True(t, c.Limits.Queue == 5 && c.Limits.Wait == 90*time.Second, "limits from variables: %+v", c.Limits)
		return c.Sources[0].Session.HS256Secret.Reveal()
	}
	must.Table(t, replaced, map[string]string{
		"${TOKEN}":            "from-a-file",
		"${TWO}":              "x\r\n",
		"${CRLF}":             "x",
		"${BREAK}":            "a\nlisten: x # \" ' { [",
		"${NEST}":             "${BREAK}",
		"a$${TOKEN}b${TOKEN}": "a${TOKEN}bfrom-a-file",
		"$$x$$ $ {":           "$$x$$ $ {",
		"$$${TOKEN}":          "$${TOKEN}",
	})
}

func TestSeveralSecretsInOneValue(t *testing.T) {
	file := "database: a=b\nsources:\n  s:\n    provider: supabase\n    signing_secrets: [\"${S}\", \"" + supabaseSecret + "\"]\n"
	c := load(t, file, map[string]string{"S": supabaseSecret + "|" + supabaseSecret})
	must.Equal(t, len(c.Sources[0].SigningSecrets), 3, "secrets")
	must.Equal(t, c.Sources[0].SigningSecrets[1].Reveal(), supabaseSecret, "the second")
	// A header's secret may hold a bar.
	file = "database: a=b\nsources:\n  s:\n    provider: supabase\n    database_webhook: {secrets: [\"0123456789|abcdef\"]}\n"
	must.Equal(t, load(t, file, nil).Sources[0].DatabaseWebhook.Secrets[0].Reveal(), "0123456789|abcdef", "the header's secret")
}

func TestProblemsHoldNoSecret(t *testing.T) {
	const s = "s3cr3t-v4lue"
	vars := map[string]string{"S": s, "T_FILE": "/" + s}
	for _, file := range []string{
		"database: " + s + "\nadmin_token: [" + s + "]\n",
		"database: ${S}\nlisten: ${S}\nadmin_token: ${T}\nlimits: {body: \"${S}\", queue: \"${S}\", wait: \"${S}\"}\nlog: {level: \"${S}\"}\nsync: {origins: [\"${S}\"]}\n" +
			"sources:\n  a:\n    provider: ${S}\n    signing_secrets: [\"${S}\", " + s + "]\n    session: {issuer: \"${S}\"}\n" +
			"    reconcile: {schedule: \"${S}\", max_delete: \"${S}\"}\n  b:\n    provider: clerk\n    signing_secrets: [\"whsec_${S}\", v1," + s + "]\n" +
			"targets:\n  t:\n    table: a.b.${S}\n    from: [\"${S}\"]\n    key: ${S}\n    set: {id: \"(${S}\"}\n    on_delete: ${S}\n    where: (${S}\n",
		"admin_token: |" + s + "\n", "admin_token: '" + s + "'x\n", "admin_token: @" + s + "\n", "sources: {a: {api: {key: x," + s + "}}}\n",
		"admin_token: \"\\q" + s + "\n", "admin_token: " + s + ": " + s + "\n", "admin_token: *" + s + "\n", "admin_token: !" + s + "\n",
	} {
		_, problems := Load("r.yaml", []byte(file), environment(vars))
		must.True(t, len(problems) > 0, "no problems in\n%s", file)
		must.Lack(t, problems.Error(), s, "hunter2", "admin-token-value", clerkSecret, supabaseSecret, "sk_test_clerkapikey")
	}
}

// FuzzLoad looks for files that panic, or whose problems have no place or no words.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		full, smallest, "", "a: &x [*x]\n", "a: {b: ${C}}\n", "? a\n: b\n", "--- a\n--- b\n", "%YAML 1.2\n---\na: b\n",
		"database: !!str\nsources: {a: }\n", "targets: {t: {set: {a: coalesce(a, '')}, on_delete: {a: }}}\n", "<<: *a\n", "a: >-\n b\n",
		"database: \"${A}$${B}${\"\n", "sources: {s: {provider: clerk, signing_secrets: ['a|b|']}}\n", "a: 'b' c\n", "\xff", "a:\n\t- b\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, file string) {
		c, problems := Load("r.yaml", []byte(file), environment(nil))
		must.True(t, c != nil || len(problems) > 0, "neither a Config nor a problem")
		for _, p := range problems {
			must.True(t, p.Pos.Line >= 1 && p.Pos.Column >= 1 && p.What != "", "a problem without place or words: %+v", p)
		}
	})
}

// $NAME without braces is no variable; where it is surely meant as one, the file is told.
func TestForgottenBraces(t *testing.T) {
	vars := map[string]string{"PGPASS": "x", "OTHER_FILE": "/run/token"}
	runMistakes(t, []mistake{
		{"a whole value", "database: $DATABASE_URL\n", nil, []string{
			"r.yaml:1:11: database: $DATABASE_URL is not replaced; write ${DATABASE_URL}, in double quotes inside [ ] and { }"}},
		{"in a list", "database: a=b\nsources: {s: {provider: supabase, signing_secrets: [$HOOK]}}\n", nil, []string{
			"r.yaml:2:53: sources.s.signing_secrets: $HOOK is not replaced; write ${HOOK}, in double quotes inside [ ] and { }"}},
		{"one that is set, within a value", "database: postgres://a:$PGPASS@b/c\n", vars, []string{
			"r.yaml:1:11: database: $PGPASS is not replaced; write ${PGPASS}, in double quotes inside [ ] and { }"}},
		{"one that is a file", "database: postgres://a:$OTHER@b/c\n", vars, []string{
			"r.yaml:1:11: database: $OTHER is not replaced; write ${OTHER}, in double quotes inside [ ] and { }"}},
		{"a password with $", "database: postgres://a:x$SECRET@b/c\n", vars, nil},
	})
}
