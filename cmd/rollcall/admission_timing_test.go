//go:build timing

package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/internal/fixture"
	"rollcall/internal/pgtest"
	"rollcall/internal/pgtest/pgserver"
)

// A sign-up waits for the answer: 50 ms where the lists decide, with a database that is there, that is locked, and
// that is away; 500 ms where a condition does, however slow it is.
func TestSignUpsAreAnsweredInTime(t *testing.T) {
	server := pgtest.StartServer(t, pgserver.Options{})
	db := fixture.At(t, server.URL("postgres"))
	var lines strings.Builder
	for n := range 5500 {
		fmt.Fprintf(&lines, "host%d.example, ", n)
	}
	lists := serveAt(t, admitting("deny_domains: ["+lines.String()+"last.example]"), db.Address)
	slow := serveAt(t, admitting("require: pg_sleep(30) is not null"), db.Address)
	quick := serveAt(t, admitting("require: new.email like '%@example.com'"), db.Address)
	measure := func(name string, in *instance, email string, most time.Duration) {
		t.Helper()
		var took []time.Duration
		for n := range 60 {
			r := asksToSignUp(t, "open", fmt.Sprint(name, n), email)
			began := time.Now()
			if status, _, body := in.send(r); status != http.StatusOK && status != http.StatusNoContent {
				t.Fatalf("%s: %d %s", name, status, body)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		t.Logf("%-40s median %v, at most %v", name, took[30], took[59])
		if took[59] > most {
			t.Errorf("%s: %v, want %v at most", name, took[59], most)
		}
	}
	const lists50, require500 = 50 * time.Millisecond, 500 * time.Millisecond
	measure("refused by a list", lists, "ada@x.host5499.example", lists50)
	measure("admitted by the lists", lists, "ada@example.com", lists50)
	measure("admitted by a condition", quick, "ada@example.com", require500)
	measure("refused by a condition", quick, "ada@evil.example", require500)
	measure("a condition that is too slow", slow, "ada@example.com", require500)
	held := db.Hold("lock table rollcall.events in access exclusive mode")
	measure("refused by a list, events locked", lists, "ada@x.host1.example", lists50)
	measure("admitted by the lists, events locked", lists, "ada@example.com", lists50)
	measure("admitted by a condition, events locked", quick, "ada@example.com", require500)
	held.Run("rollback")
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	measure("refused by a list, no database", lists, "ada@x.host2.example", lists50)
	measure("admitted by the lists, no database", lists, "ada@example.com", lists50)
	measure("a condition, no database", quick, "ada@example.com", require500)
}
