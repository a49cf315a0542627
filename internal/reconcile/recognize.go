package reconcile

import (
	"context"
	"iter"
	"slices"
)

const (
	// sampled is of how many users of the roll the API must know one.
	sampled = 20
	// sampledAtOnce is how many of them are asked for at a time; mostly the first few do.
	sampledAtOnce = 5
)

// knowsOne reports whether a provider knows one of some users of the roll, asked for a few at a
// time, and so is the provider whom the roll follows. Look returns nil for who isn't there.
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
