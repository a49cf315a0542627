package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"rollcall/internal/clerktest"
	"rollcall/internal/fixture"
	"rollcall/internal/pgtest"
)

// TestScripts runs the stories of the command line, testdata/script/*.txtar. Each has a
// database of its own at $DATABASE_URL and the made-up secrets of the tests. $LISTEN and
// $ADMIN_LISTEN are any free port, and after the command serve those it listens at.
//
// Beyond the commands of testscript they have
//
//	serve FILE [LINE]    runs rollcall serve until the story ends, waits for a line of its
//	                     log (ready), sets $LISTEN, $ADMIN_LISTEN and as URLs $PUBLIC, $ADMIN
//	sql STATEMENT|@FILE  runs it; its rows are the standard output, values joined by |
//	clerk put N|delete N|team N|leave N|refuse   a made-up Clerk instance at $CLERK_API with $CLERK_KEY gets
//	                     N users, or loses N, gets an organization of N members, or loses N of
//	                     them, or refuses the key
//	settled              waits until the outbox of the captures is empty
//	exits CODE PROGRAM…  is exec for a program that must end with that exit code
//	needs PROGRAM        fails, and says what to do, where a program isn't installed
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setupStory,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":     command("serve FILE [LINE]", 1, storyServe),
			"sql":       command("sql STATEMENT", 1, storySQL),
			"clerk":     command("clerk put N|delete N|team N|leave N|refuse", 1, storyClerk),
			"settled":   command("settled", 0, storySettled),
			"completes": command("completes WORD…", 1, storyCompletes),
			"exits":     command("exits CODE PROGRAM…", 2, storyExits),
			"needs":     command("needs PROGRAM", 1, storyNeeds),
		},
	})
}

// testKey finds the testing.TB of a story, clerkKey its Clerk instance.
type testKey struct{}
type clerkKey struct{}

func setupStory(e *testscript.Env) error {
	tb, ok := e.T().(testing.TB)
	if !ok {
		return errors.New("the stories need a testing.TB for their databases")
	}
	e.Values[testKey{}] = tb
	e.Values[clerkKey{}] = clerktest.New(tb)
	getenv := env(pgtest.New(tb))
	for _, name := range variables {
		e.Setenv(name, getenv(name))
	}
	e.Setenv("LISTEN", "127.0.0.1:0")
	e.Setenv("ADMIN_LISTEN", "127.0.0.1:0")
	return nil
}

// command makes a command of testscript that can't be negated.
func command(usage string, least int, do func(*testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < least {
			ts.Fatalf("usage: %s", usage)
		}
		do(ts, args)
	}
}

// storyTB is the testing.TB of a story.
func storyTB(ts *testscript.TestScript) testing.TB {
	tb, ok := ts.Value(testKey{}).(testing.TB)
	if !ok {
		ts.Fatalf("the story has no test")
	}
	return tb
}

func storyServe(ts *testscript.TestScript, args []string) {
	tb := storyTB(ts)
	in := startServe(tb, ts.ReadFile(args[0]), ts.Getenv)
	line := "ready"
	if len(args) > 1 {
		line = args[1]
	}
	in.log.await(tb, line, 1)
	ts.Setenv("PUBLIC", in.public)
	ts.Setenv("ADMIN", in.admin)
	ts.Setenv("LISTEN", strings.TrimPrefix(in.public, "http://"))
	ts.Setenv("ADMIN_LISTEN", strings.TrimPrefix(in.admin, "http://"))
}

func storySQL(ts *testscript.TestScript, args []string) {
	conn, err := pgx.Connect(context.Background(), ts.Getenv("DATABASE_URL"))
	ts.Check(err)
	defer func() { _ = conn.Close(context.Background()) }()
	statement := strings.Join(args, " ")
	if file, ok := strings.CutPrefix(statement, "@"); ok {
		statement = ts.ReadFile(file)
	}
	results, err := conn.PgConn().Exec(context.Background(), statement).ReadAll()
	ts.Check(err)
	for _, result := range results {
		for _, row := range result.Rows {
			var values []string
			for _, value := range row {
				values = append(values, string(value))
			}
			fmt.Fprintln(ts.Stdout(), strings.Join(values, "|"))
		}
	}
}

func storyClerk(ts *testscript.TestScript, args []string) {
	clerk, ok := ts.Value(clerkKey{}).(*clerktest.Clerk)
	if !ok {
		ts.Fatalf("the story has no Clerk instance")
	}
	if args[0] == "refuse" {
		clerk.SetKey("sk_live_another")
		return
	}
	n, err := strconv.Atoi(args[len(args)-1])
	ts.Check(err)
	switch args[0] {
	case "put":
		clerk.PutMany(n)
	case "delete":
		for _, u := range clerk.Users()[:n] {
			clerk.Delete(u.ID)
		}
	case "team":
		clerk.PutTeams(1, n)
	case "leave":
		for _, m := range clerk.Memberships()[:n] {
			clerk.DeleteMembership(m.ID)
		}
	default:
		ts.Fatalf("a Clerk instance can put, delete, team, leave or refuse, not %s", args[0])
	}
	ts.Setenv("CLERK_API", clerk.URL())
	ts.Setenv("CLERK_KEY", clerk.Key())
}

func storySettled(ts *testscript.TestScript, _ []string) {
	db := fixture.At(storyTB(ts), ts.Getenv("DATABASE_URL"))
	db.Await("select (select count(*) from rollcall.outbox) + (select count(*) from rollcall_provider.outbox)", "0")
}

// storyCompletes asks what a shell completes, up to three times: the database has a second, and a busy machine may
// need longer.
func storyCompletes(ts *testscript.TestScript, words []string) {
	for range 3 {
		ts.Check(ts.Exec("rollcall", append([]string{"__complete"}, words...)...))
		if !strings.HasPrefix(ts.ReadFile("stdout"), ":") {
			return
		}
	}
}

func storyExits(ts *testscript.TestScript, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func storyNeeds(ts *testscript.TestScript, args []string) {
	if _, err := exec.LookPath(args[0]); err != nil {
		ts.Fatalf("this story runs %s, which is not installed: apt-get install %[1]s, apk add %[1]s or brew install %[1]s", args[0])
	}
}
