package reconcile

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"rollcall/internal/postgres/roll"
)

const (
	// sampled is of how many users of the roll the API must know one.
	sampled = 20
	// sampledAtOnce is how many of them are asked for at a time; mostly the first few do.
	sampledAtOnce = 5
)

// knowsOne reports whether a provider knows one of some users of the roll, asked for a few at a
// time, and so is the provider that the roll follows. Look returns nil for a user who isn't there.
func knowsOne(ctx context.Context, ids iter.Seq[[]string], look func(context.Context, []string) ([][]byte, error)) (bool, error) {
	for few := range ids {
		users, err := look(ctx, few)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(users, func(u []byte) bool { return u != nil }) {
			return true, nil
		}
	}
	return false, nil
}

// recognize makes sure, before a user is deleted, that the provider is the one that the roll follows:
// with the key of another instance, every user who signs in would seem to be gone. One that has shown a
// user is; else it must know one of some others of the roll, or, without others, answer as a provider.
func (s *Syncer) recognize(ctx context.Context, f flight, m roll.Member) error {
	if _, ok := s.right.Load(f.source); ok {
		return nil
	}
	p := s.config.Providers[f.source]
	ids, err := s.config.DB.Directory().Listing(f.source).Sample(ctx, sampledAtOnce+1, m.At.Add(-p.Lag))
	if err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == f.id })
	ids = ids[:min(len(ids), sampledAtOnce)]
	if len(ids) == 0 {
		return p.answers(ctx)
	}
	known, err := knowsOne(ctx, slices.Chunk(ids, 1), func(ctx context.Context, one []string) ([][]byte, error) {
		row, err := p.Look(ctx, one[0])
		return [][]byte{row}, err
	})
	if known {
		s.right.Store(f.source, true)
	}
	if known || err != nil {
		return err
	}
	return fmt.Errorf("the provider does not know this user, nor %d others from the roll; nothing was deleted; is this the key of the right instance, or the right users_table? If they are all gone, run rollcall reconcile", len(ids))
}

// answers makes sure that it is such a provider at all who says that the only user is gone.
func (p Provider) answers(ctx context.Context) error {
	if p.Answers == nil {
		return nil
	}
	if err := p.Answers(ctx); err != nil {
		return fmt.Errorf("the provider does not know this user, and the roll has no other to ask about; nothing was deleted; is this the right address? %w", err)
	}
	return nil
}
