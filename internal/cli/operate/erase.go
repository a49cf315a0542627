package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/postgres/erasure"
	"rollcall/internal/terminal"
)

const eraseHelp = `Forgets what is kept of a user, for good: the columns of the roll, the bodies of events, what targets
said when they refused the user, changes that wait to be applied, and the user's memberships. The ids, deleted_at and
erased_at stay. Targets do what on_delete says; rows that are still there are listed, because they are
the application's own. Whatever the provider says of the user later is recorded without its body and
changes nothing.

Erase the user at the provider first: a user who is not deleted is refused, but for --living. All of it is one
transaction, which rollcall.audit_log notes.

Exits 1 when nothing was erased, or when a target has a row that it should not have.

--output json prints one object: source, id, deleted_at, erased_at, erased_before (whether the user had been
erased before), the numbers bodies, memberships, parked and captured, and remaining: the rows that are
still there, each with target, table, key, why, and failed where on_delete could not be done.`

func newErase(env cli.Env) *cobra.Command {
	var living bool
	cmd := &cobra.Command{
		Use:               "erase SOURCE ID",
		Short:             "Forgets what is kept of a user, and keeps forgetting it",
		Long:              eraseHelp,
		Example:           "  rollcall erase clerk user_2RollcallSampleAda0000000000",
		ValidArgsFunction: sourceAndUserID(env),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return cli.Usagef("name the source, and the id of the user")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&living, "living", false, "erase a user who is not deleted, too")
	out := cli.AddOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := env.Load(cmd)
		if err != nil {
			return err
		}
		if _, err := s.Source(args[0]); err != nil {
			return err
		}
		e := erasure.Request{Source: args[0], ID: args[1], Living: living, Who: operator(env)}
		done, err := erase(cmd.Context(), env, s, e)
		if err != nil {
			return explainErasure(err)
		}
		if err := out.Write(env.Stdout, done, func(to io.Writer) error { return eraseText(to, done) }); err != nil {
			return err
		}
		if slices.ContainsFunc(done.Remaining, func(r erasure.Remaining) bool { return r.Failed }) {
			return errors.New("a target has not done what on_delete says; see to it, and run the same command again")
		}
		return nil
	}
	return cmd
}

// operator is the name of the person who runs the command, for rollcall.audit_log.
func operator(env cli.Env) string {
	return "cli:" + cmp.Or(env.Getenv("SUDO_USER"), env.Getenv("USER"), env.Getenv("LOGNAME"), "unknown")
}

func erase(ctx context.Context, env cli.Env, s *app.Setup, e erasure.Request) (erasure.Result, error) {
	finish := env.Waiting("checking the targets")
	defer func() { finish() }()
	worker, err := s.StartWorker(ctx, s.Logger(env.Stderr), env.Complain)
	if err != nil {
		return erasure.Result{}, err
	}
	defer worker.Stop()
	finish()
	finish = env.Waiting("looking through the events")
	return worker.DB.Eraser().Erase(ctx, e)
}

func explainErasure(err error) error {
	switch {
	case errors.Is(err, erasure.ErrLiving):
		return fmt.Errorf("%w; delete the user at the provider first, or erase them all the same with --living", err)
	case errors.Is(err, erasure.ErrUnknownUser):
		return fmt.Errorf("%w; ids are exact: rollcall check --user finds one by the e-mail", err)
	default:
		return err
	}
}

func eraseText(to io.Writer, done erasure.Result) error {
	lines := []string{
		fmt.Sprintf("erased %s of %s at %s", done.ID, done.Source, done.ErasedAt.Format(time.RFC3339)),
		"  bodies of events\t" + cli.Grouped(done.Bodies),
		"  memberships\t" + cli.Grouped(int64(done.Memberships)),
		"  messages of targets\t" + cli.Grouped(done.Parked),
		"  captured changes\t" + cli.Grouped(done.Captured),
	}
	if len(done.Remaining) > 0 {
		lines = append(lines, "still there:")
	}
	for _, r := range done.Remaining {
		where := []string{"  " + r.Target + ": " + r.Table}
		for _, column := range slices.Sorted(maps.Keys(r.Key)) {
			where = append(where, column+" "+r.Key[column])
		}
		lines = append(lines, terminal.Fold(strings.Join(where, ", ")+": "+r.Why))
	}
	_, err := fmt.Fprintln(to, strings.Join(lines, "\n"))
	return err
}
