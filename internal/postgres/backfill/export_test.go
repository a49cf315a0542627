package backfill

import "context"

// Steps is a backfill that has begun and goes step by step.
type Steps struct{ *run }

func (b *Backfills) Begin(ctx context.Context, target string) (Steps, error) {
	f, err := b.begin(ctx, target, nil)
	if err != nil {
		return Steps{}, err
	}
	return Steps{f}, f.begin(ctx)
}

func (s Steps) Release()                              { s.release() }
func (s Steps) Walk(ctx context.Context) error        { return s.walk(ctx) }
func (s Steps) FollowMoved(ctx context.Context) error { return s.followMoved(ctx) }
func (s Steps) Moved() int64                          { return s.done.Moved }

// Look looks for moved users once, and goes on from there.
func (s Steps) Look(ctx context.Context) (found int, err error) {
	users, seen, err := s.moved(ctx)
	s.seen = seen
	return len(users), err
}
