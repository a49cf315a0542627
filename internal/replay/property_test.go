package replay_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"rollcall/internal/must"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/testtag"
)

// Whatever has arrived, late, twice or with equal versions: to replay any of it, in any order, changes no table.
func TestReplayChangesNothing(t *testing.T) {
	t.Parallel()
	seed := testtag.Seed(t)
	for n := range testtag.Part(40) {
		random := rand.New(rand.NewPCG(seed, uint64(n)))
		b := newBench(t)
		b.Exec("alter table members drop constraint members_org_fkey") // a refusal may hold for one order and not for another
		var ids []string
		for i := range 60 {
			id := fmt.Sprint("e", i)
			b.arrives(id, randomBody(random, i))
			ids = append(ids, id)
		}
		b.Want("select from rollcall.parked")
		// If the later of two memberships of one pair ends, the row keeps what it had until the earlier one is settled.
		must.Get(b.DB.Audit().Report(t.Context(), audit.Options{Repair: true}))(t)
		before := sums(b.Database)
		for range 4 {
			random.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
			some := ids[:1+random.IntN(len(ids))]
			for _, id := range some[:min(5, len(some))] {
				b.again(id)
			}
			b.again(some...)
			if after := sums(b.Database); after != before {
				must.Equal(t, after, before, fmt.Sprintf("case %d: all tables after a replay of %v", n, some))
				return
			}
		}
	}
}

// randomBody is an event about one of three users, two organisations or their memberships, at one of a few versions.
func randomBody(random *rand.Rand, i int) string {
	who, org, version := random.IntN(3), random.IntN(2), int64(1000*(1+random.IntN(4)))
	joined := 1 + random.IntN(2)
	membership := fmt.Sprintf(`{"id":"m_%d_%d_%d","role":"role %d","created_at":%[3]d,"updated_at":%[5]d,
		"organization":{"id":"o%[2]d","name":"name %[4]d","created_at":1,"updated_at":%[5]d},"public_user_data":{"user_id":"u%[1]d"}}`, who, org, joined, i, version)
	switch random.IntN(12) {
	case 0:
		return fmt.Sprintf(`{"type":"user.deleted","data":{"id":"u%d"},"timestamp":%d}`, who, version)
	case 1:
		return fmt.Sprintf(`{"type":"organizationMembership.deleted","data":%s,"timestamp":%d}`, membership, version)
	case 2, 3, 4, 5:
		return fmt.Sprintf(`{"type":"organizationMembership.updated","data":%s,"timestamp":%d}`, membership, version)
	case 6:
		return fmt.Sprintf(`{"type":"organization.updated","data":{"id":"o%d","name":"name %d","created_at":1,"updated_at":%d},"timestamp":%[3]d}`, org, i, version)
	default:
		return user("updated", fmt.Sprint("u", who), version, fmt.Sprint(i, "@x"))
	}
}
