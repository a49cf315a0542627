package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

// notifyKills is how often a replica is killed.
var notifyKills = testtag.Part(300)

// tellers are the notifications of one receiver: the run of one that dies with its replica is taken over after 20
// seconds, and meanwhile others are under way.
const tellers = 6

// lives are the states of a user of the kill test, in order, and what is said of each. Names stay, so that an e-mail
// and a ban are all that changes.
var lives = []struct {
	kind, members string
	said          []string
}{
	{"user.created", `"email_addresses":[{"id":"e","email_address":"a@x.test"}],"primary_email_address_id":"e","banned":false`, []string{"appeared"}},
	{"user.updated", `"email_addresses":[{"id":"e","email_address":"b@x.test"}],"primary_email_address_id":"e","banned":false`, []string{"email_changed"}},
	{"user.updated", `"email_addresses":[{"id":"e","email_address":"b@x.test"}],"primary_email_address_id":"e","banned":true`, []string{"banned"}},
	{"user.updated", `"email_addresses":[{"id":"e","email_address":"b@x.test"}],"primary_email_address_id":"e","banned":false`, []string{"unbanned"}},
	{"user.deleted", `"deleted":true`, []string{"deleted"}},
}

// live has a user live, each event sent until one of the replicas has answered, and once more.
func (s *soak) live(id string) {
	since := time.Now().Add(time.Minute).UnixMilli()
	for n, state := range lives {
		body := fmt.Sprintf(`{"object":"event","type":%q,"timestamp":%d,"data":{"id":%q,"object":"user","created_at":%d,"updated_at":%d,%s}}`,
			state.kind, since+int64(n), id, since, since+int64(n), state.members)
		for answers := 0; answers < 2; {
			if ask(s.t, s.public(), signed(s.t, source.Clerk, source.Hook, body)).status == 204 {
				answers++
			} else {
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
}

// Two replicas are killed at any moment while users live: each transition is noted exactly once, and each notification
// of it is delivered at least once.
func TestNotificationsOutliveKills(t *testing.T) {
	t.Parallel()
	to := newNotified(t)
	yaml := oneMachine + "sources:\n" + clerkSource + shopTargets + "notify:\n"
	for n := range tellers {
		yaml += fmt.Sprintf("  teller%d: {on: [appeared, email_changed, banned, unbanned, deleted], webhook: {url: %q, secrets: [\"${CLERK_SECRET}\"], allow_private: true}}\n", n, to.URL)
	}
	s := newSoak(t, setting{2, 0, yaml, shopTables})
	db := fixture.At(t, s.server.URL("postgres"))
	db.Await("select count(*)::text from rollcall.notifiers", fmt.Sprint(tellers))
	stop := make(chan struct{})
	var living sync.WaitGroup
	users := make([]int, 4)
	for sender := range users {
		living.Go(func() {
			for ; ; users[sender]++ {
				select {
				case <-stop:
					return
				default:
					s.live(fmt.Sprintf("user_%d_%d", sender, users[sender]))
					time.Sleep(rand.N(50 * time.Millisecond))
				}
			}
		})
	}
	for range notifyKills {
		time.Sleep(rand.N(400 * time.Millisecond))
		s.kill(rand.N(len(s.replicas)), rand.N(100*time.Millisecond))
	}
	close(stop)
	living.Wait()

	db.Await("select count(*)::text from rollcall.notifications where state = 'pending'", "0")
	var want []string
	for sender, n := range users {
		for user := range n {
			for _, state := range lives {
				for _, kind := range state.said {
					want = append(want, fmt.Sprintf("%s user_%d_%d", kind, sender, user))
				}
			}
		}
	}
	slices.Sort(want)
	t.Logf("%d kills, %d transitions, %d notifications, %d requests", s.kills.Load(), len(want), len(want)*tellers, to.requests())
	must.Equal(t, sorted(db.Rows("select type || ' ' || row_id from rollcall.transitions")), want, "transitions, each once")
	db.Want("select state, count(*)::text from rollcall.notifications group by 1", fmt.Sprint("delivered|", len(want)*tellers))
	said := to.said()
	for _, transition := range want {
		if said[transition] != tellers {
			t.Errorf("%s was delivered as %d notifications, not %d", transition, said[transition], tellers)
		}
	}
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// requests is how many came.
func (n *notified) requests() (all int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, times := range n.ids {
		all += times
	}
	return all
}
