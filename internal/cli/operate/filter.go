package operate

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/history"
	"rollcall/internal/source"
	"rollcall/internal/target"
)

// filterFlags are the flags that choose recorded events.
type filterFlags struct {
	sources, types, outcomes []string
	user, since, until       string
	flags                    *pflag.FlagSet
}

// outcomesRecorded are those that a recorded event may have.
var outcomesRecorded = []string{
	string(event.Applied), string(event.Parked), string(event.Stale), string(event.UndecodableBody),
	string(event.Announced), string(event.Refused), string(event.NeverCreated), string(event.Ignored),
}

func addFilter(cmd *cobra.Command, env cli.Env) *filterFlags {
	flags := cmd.Flags()
	f := &filterFlags{flags: flags}
	flags.StringVar(&f.user, "user", "", "only of a user, by `ID` or e-mail")
	flags.StringSliceVar(&f.types, "type", nil, "only of a `TYPE`, such as user.created; may be repeated")
	flags.StringSliceVar(&f.outcomes, "outcome", nil, "only with an `OUTCOME`: "+strings.Join(outcomesRecorded, ", ")+"; may be repeated")
	flags.StringVar(&f.since, "since", "", "only received since a `MOMENT`: 2026-11-21T03:00:00Z, 2026-11-21, or how long ago, 2h or 7d")
	flags.StringVar(&f.until, "until", "", "only received before a `MOMENT`, written in the same ways")
	complete := func(flag string, words []string) {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // fails for an unknown flag
	}
	complete("outcome", outcomesRecorded)
	complete("type", typesRecorded())
	_ = cmd.RegisterFlagCompletionFunc("user", UserID(env))
	return f
}

// typesRecorded are those that a recorded event may have.
func typesRecorded() []string {
	var list []string
	for _, provider := range []string{source.Clerk, source.Supabase} {
		src, err := source.New(source.Config{Name: provider, Provider: provider})
		if err != nil {
			continue // can't be: a name and a provider are all that is needed
		}
		for _, endpoint := range []source.Endpoint{source.Hook, source.Database} {
			for _, t := range src.Types(endpoint) {
				if !slices.Contains(list, t.Name) {
					list = append(list, t.Name)
				}
			}
		}
	}
	return list
}

// filter is what the flags say; what they can't say is a usage error. The user's e-mail is looked up in db.
func (f *filterFlags) filter(ctx context.Context, db *postgres.DB) (history.Filter, error) {
	chosen := history.Filter{Sources: f.sources, Types: f.types, Outcomes: f.outcomes}
	if f.user != "" {
		var err error
		if chosen.Users, err = userIDs(ctx, db, f.user); err != nil {
			return chosen, err
		}
	}
	var err error
	chosen.Since, chosen.Until, err = f.times(time.Now())
	return chosen, err
}

// chooses reports whether a flag, of those for ranges, is given.
func (f *filterFlags) chooses() bool {
	return f.since != "" || f.until != "" || f.user != "" || len(f.types) > 0 || len(f.outcomes) > 0
}

// check finds what is wrong with the flags, before the database is asked.
func (f *filterFlags) check(s *app.Setup) error {
	// A variable of a script that is not set must not make a range one of all events.
	for _, name := range []string{"user", "source", "type", "outcome", "since", "until"} {
		if flag := f.flags.Lookup(name); flag != nil && flag.Changed && slices.Contains([]string{"", "[]"}, flag.Value.String()) {
			return cli.Usagef("--%s: write what to choose, or leave it out: an empty value would choose all", name)
		}
	}
	for _, name := range f.sources {
		if _, err := s.Source(name); err != nil {
			return err
		}
	}
	if err := oneOf("type", f.types, typesRecorded()); err != nil {
		return err
	}
	if err := oneOf("outcome", f.outcomes, outcomesRecorded); err != nil {
		return err
	}
	_, _, err := f.times(time.Now())
	return err
}

func oneOf(flag string, values, known []string) error {
	for _, value := range values {
		if err := named("--"+flag, value, known); err != nil {
			return err
		}
	}
	return nil
}

// named finds a mistake in a name of what a command line is about.
func named(what, name string, known []string) error {
	if slices.Contains(known, name) {
		return nil
	}
	if meant := target.Nearest(name, known); meant != "" {
		return cli.Usagef("%s: %q is none%s", what, name, cli.DidYouMean(meant))
	}
	return cli.Usagef("%s: %q is none; write one of %s", what, name, strings.Join(known, ", "))
}

func (f *filterFlags) times(now time.Time) (since, until time.Time, err error) {
	if f.since != "" {
		since, err = cli.Moment("since", f.since, now)
	}
	if err == nil && f.until != "" {
		until, err = cli.Moment("until", f.until, now)
	}
	if err == nil && !since.IsZero() && !until.IsZero() && !since.Before(until) {
		err = cli.Usagef("--since is not before --until")
	}
	return since, until, err
}

// userIDs are the ids that an id or an e-mail address stands for: several users may have an address.
func userIDs(ctx context.Context, db *postgres.DB, who string) ([]string, error) {
	if !strings.Contains(who, "@") {
		return []string{who}, nil
	}
	users, err := db.Audit().InRoll(ctx, who)
	if err != nil {
		return nil, err
	}
	var ids []string
	for i := range users {
		ids = append(ids, users[i].ID)
	}
	if len(ids) == 0 {
		return nil, audit.ErrNotInRoll
	}
	return ids, nil
}
