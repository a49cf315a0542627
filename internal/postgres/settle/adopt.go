package settle

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// changed is beside the verdicts: a row was there to be taken over, and was not taken over.
const changed target.Verdict = "changed"

// refusedFor says why a user neither takes over a row nor gets one of their own.
var refusedFor = map[target.Verdict]string{
	target.Taken:      "match: the row of another user has the user's address; correct one of the two addresses, or delete the row that is wrong",
	target.Several:    "match: several rows without a key have the user's address; keep the address in one of them",
	target.Unverified: "match: a row without a key has the user's address, which the provider has not verified",
	target.Rivals:     "match: several users with one address came at once; correct the address of all but one, or give the row that has it the key of the right one",
	changed:           "match: the row that the user was to take over has changed meanwhile, or a trigger keeps it from being taken over; the user is tried again",
}

// refuseAdoption is the refusal of a user for a verdict. The whole transaction runs again for a row that has changed.
func refuseAdoption(t *catalog.Compiled, u Key, v target.Verdict) Refusal {
	state := sqlstate.IntegrityViolation
	if v == changed {
		state = sqlstate.SerializationFailure
	}
	return Refusal{target: t.Name, User: u, state: state, message: refusedFor[v], verdict: v}
}

// adoption is the piece that has users of a target take over rows.
func adoption(t *catalog.Compiled) Piece {
	return Piece{Target: t, Statement: t.Adoption, verdicts: t.Verdicts, wanted: t.UpsertWanted, locked: t.AdoptionLocked}
}

// judge refuses those users who may not take over a row and may not get one of their own, or whose verdict can't be
// computed. It notes who is to take over one.
func (s *separation) judge(ctx context.Context, p Piece, users []Key) ([]Refusal, error) {
	refused, err := RunIsolated(ctx, s.conn, Piece{Target: p.Target, Statement: p.verdicts}, users)
	if err != nil {
		return nil, err
	}
	sources, ids := KeyArrays(Without(users, refused))
	rows, _ := s.conn.Query(ctx, p.verdicts, sources, ids, true)
	u := Key{Roll: p.Target.Roll}
	var verdict target.Verdict
	_, err = pgx.ForEachRow(rows, []any{&u.Source, &u.ID, &verdict}, func() error {
		if verdict == target.Adopt {
			s.adopting = append(s.adopting, entry{p.Target.Name, u})
		} else {
			refused = append(refused, refuseAdoption(p.Target, u, verdict))
		}
		return nil
	})
	return refused, err
}

// changedRows gives its reason to the failure of an adoption (target.Statements) whose row has changed since judge.
func changedRows(t *catalog.Compiled, refused []Refusal) []Refusal {
	for i, r := range refused {
		if r.state == sqlstate.DivisionByZero && r.place == "" {
			refused[i] = refuseAdoption(t, r.User, changed)
		}
	}
	return refused
}

// adoptLate tries the users again whose address another user's row had: that user may have given it up in the same
// transaction, behind whose upsert this runs.
func (s *separation) adoptLate(ctx context.Context, upsert Piece) error {
	t := upsert.Target
	var taken []Key
	s.refused = slices.DeleteFunc(s.refused, func(r Refusal) bool {
		late := r.target == t.Name && r.verdict == target.Taken
		if late {
			taken = append(taken, r.User)
		}
		return late
	})
	slices.SortFunc(taken, CompareKeys)
	if err := s.settle(ctx, adoption(t), taken); err != nil {
		return err
	}
	if s.all.dry != nil {
		if err := s.all.dry.adopted(ctx, s); err != nil {
			return err
		}
	}
	return s.settle(ctx, upsert, s.unrefused(t, taken))
}

// unrefused leaves out the users that the target has refused in this transaction: what one piece refuses no later
// one tries.
func (s *separation) unrefused(t *catalog.Compiled, users []Key) []Key {
	return Without(users, slices.DeleteFunc(slices.Clone(s.refused), func(r Refusal) bool { return r.target != t.Name }))
}
