package operate

import (
	"context"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/history"
)

const (
	// completionTime is how long a shell waits for the database.
	completionTime = time.Second
	// mostCompleted is how many ids a shell is given.
	mostCompleted = 50
)

// plainID is a word that does nothing in a shell, and is no flag.
var plainID = regexp.MustCompile(`^[A-Za-z0-9_.:][A-Za-z0-9_.:-]*$`)

// word is what is to be completed: its beginning, the arguments before it, and the sources and targets it may be about.
type word struct {
	typed   string
	args    []string
	sources []string
	targets []string
}

// completed asks the database for what completes a word. Without an answer at once there is nothing, and no error:
// it would stand in the middle of the line that is typed.
func completed(env cli.Env, ask func(context.Context, *postgres.DB, *word) ([]string, error)) cobra.CompletionFunc {
	env.Stderr = io.Discard
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		s, err := env.Load(cmd)
		if err != nil || typed != "" && !plainID.MatchString(typed) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		w := &word{typed: typed, args: args, sources: cli.SourceNames(s.Config), targets: cli.TargetNames(s.Config)}
		var list []string
		_ = env.OnDatabase(s, func(db *postgres.DB) error {
			list, err = ask(ctx, db, w)
			return err
		})
		list = slices.DeleteFunc(list, func(c string) bool {
			id, _, _ := strings.Cut(c, "\t")
			return !plainID.MatchString(id) || !strings.HasPrefix(id, typed) || slices.Contains(args, id)
		})
		return list[:min(len(list), mostCompleted)], cobra.ShellCompDirectiveNoFileComp
	}
}

func (w *word) beginning() audit.Beginning {
	return audit.Beginning{Sources: w.sources, ID: w.typed, Limit: mostCompleted}
}

// ofFirst narrows a word to the source that is its first argument.
func (w *word) ofFirst() bool {
	if len(w.args) == 0 || !slices.Contains(w.sources, w.args[0]) {
		return false
	}
	w.sources = w.args[:1]
	return true
}

// eventID completes the id of one event.
func eventID(env cli.Env) cobra.CompletionFunc {
	return completed(env, func(ctx context.Context, db *postgres.DB, w *word) ([]string, error) {
		if len(w.args) > 0 {
			return nil, nil
		}
		return w.events(ctx, db)
	})
}

// sourceAndEventIDs completes ids of events, with their source in front or without.
func sourceAndEventIDs(env cli.Env) cobra.CompletionFunc {
	return completed(env, func(ctx context.Context, db *postgres.DB, w *word) ([]string, error) {
		w.ofFirst()
		list, err := w.events(ctx, db)
		if len(w.args) == 0 {
			list = append(slices.Clone(w.sources), list...)
		}
		return list, err
	})
}

// events are the newest, or the last ones that begin with what was typed.
func (w *word) events(ctx context.Context, db *postgres.DB) (list []string, err error) {
	var events []history.Event
	if w.typed != "" {
		events, err = db.History().Beginning(ctx, w.sources, w.typed, mostCompleted)
	} else {
		var page history.Page
		page, err = db.History().List(ctx, history.Filter{Sources: w.sources}, history.Paging{Limit: mostCompleted})
		events = page.Events
	}
	for i := range events {
		e := &events[i]
		if description := e.Type + ", " + e.Outcome; plainID.MatchString(e.Type) {
			list = append(list, cobra.CompletionWithDesc(e.ID, description))
		} else {
			list = append(list, e.ID)
		}
	}
	return list, err
}

// oneUserID completes the id of a user as the only argument.
func oneUserID(env cli.Env) cobra.CompletionFunc {
	ids := UserID(env)
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return ids(cmd, args, typed)
	}
}

// UserID completes the id of a user as the value of a flag.
func UserID(env cli.Env) cobra.CompletionFunc {
	return completed(env, func(ctx context.Context, db *postgres.DB, w *word) ([]string, error) {
		return db.Audit().UserIDs(ctx, w.beginning())
	})
}

// sourceAndUserID completes a source, and then the id of one of its users.
func sourceAndUserID(env cli.Env) cobra.CompletionFunc {
	names := env.Named(cli.SourceNames)
	ids := completed(env, func(ctx context.Context, db *postgres.DB, w *word) ([]string, error) {
		if !w.ofFirst() || len(w.args) > 1 {
			return nil, nil
		}
		return db.Audit().UserIDs(ctx, w.beginning())
	})
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return names(cmd, args, typed)
		}
		return ids(cmd, args, typed)
	}
}

// parkedUserID completes the id of a user who is parked, for the target that is named.
func parkedUserID(env cli.Env) cobra.CompletionFunc {
	return completed(env, func(ctx context.Context, db *postgres.DB, w *word) ([]string, error) {
		if len(w.args) > 0 {
			w.targets = w.args
		}
		return db.Audit().ParkedIDs(ctx, w.beginning(), w.targets)
	})
}
