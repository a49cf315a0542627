package main

import (
	"strings"
	"testing"
	"time"

	"rollcall/internal/pgtest"
)

// A replica that starts beside one with other targets says so, once; one with the same does not.
func TestReplicasWithOtherTargets(t *testing.T) {
	t.Parallel()
	const differ = "other replicas run with other targets"
	says := func(in *instance) int { return strings.Count(in.log.String(), differ) }
	url := pgtest.NewWith(t, shopTables)
	first := startServe(t, twoSources+shopTargets, env(url))
	first.log.await(t, "ready", 1)
	same := startServe(t, twoSources+shopTargets, env(url))
	same.log.await(t, "ready", 1)
	conn := connect(t, url)
	awaitNoted(t, func() (n int, err error) {
		return n, conn.QueryRow(t.Context(), "select count(*) from rollcall.replicas").Scan(&n)
	}, 2)
	other := startServe(t, twoSources+strings.Replace(shopTargets, "'customer'", "'guest'", 1), env(url))
	awaitNoted(t, func() (int, error) { return says(other), nil }, 1)
	if says(first)+says(same) > 0 {
		t.Errorf("said before there was another: %s", first.log)
	}
	awaitNoted(t, func() (int, error) { return says(first), nil }, 1)
	time.Sleep(100 * time.Millisecond)
	if says(other) != 1 {
		t.Errorf("said %d times", says(other))
	}
}

// awaitNoted waits until there are so many.
func awaitNoted(t *testing.T, count func() (int, error), want int) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		n, err := count()
		if err != nil {
			t.Fatal(err)
		}
		if n >= want {
			return
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%d, want %d", n, want)
		}
	}
}
