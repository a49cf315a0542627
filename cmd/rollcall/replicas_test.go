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
	const differ = "other replicas run with other targets; give all of them the same configuration"
	says := func(in *instance) int { return len(in.log.Lines(differ)) }
	url := pgtest.NewWith(t, shopTables)
	first := startServe(t, twoSources+shopTargets, env(url))
	first.log.await(t, "ready", 1)
	same := startServe(t, twoSources+shopTargets, env(url))
	same.log.await(t, "ready", 1)
	conn := connect(t, url)
	await(t, conn, "select count(*) = 2 from rollcall.replicas")
	other := startServe(t, twoSources+strings.Replace(shopTargets, "'customer'", "'guest'", 1), env(url))
	other.log.await(t, differ, 1)
	if says(first)+says(same) > 0 {
		t.Errorf("said before there was another: %s", first.log)
	}
	first.log.await(t, differ, 1)
	time.Sleep(100 * time.Millisecond)
	if says(other) != 1 {
		t.Errorf("said %d times", says(other))
	}
}
