package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/config"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/auditlog"
	"rollcall/internal/postgres/transitions"
	"rollcall/internal/terminal"
)

const notificationsHelp = `Counts the notifications that are kept, by name: those that are pending, delivered, skipped (where is not
true) and failed. With a NAME it lists them, the newest first; with --failed those that failed. Each has its state,
its transition, the source and the id of the user or the membership, and the id that the receiver sees as webhook-id.

Delivered ones are kept for 7 days, failed ones for 30.

--output json prints one object:
  summaries      without NAME and --failed: each with name, pending, delivered, skipped, failed, oldest_pending and
                 since, when the notification was first configured
  notifications  each with id, name, type, source, row_id, state, attempts, noted_at, due_at, ended_at and error`

const notificationsRetryHelp = `Makes failed notifications due again, as if they had not been tried: all, those of a NAME, or the one of --id.
serve sends them.

Exits 1 when none has failed. --output json prints one object: retried (how many).`

// mostNotifications is how many a list may have.
const mostNotifications = 1000

// notificationsOptions are the flags of notifications and the command below it.
type notificationsOptions struct {
	env    cli.Env
	failed bool
	limit  int
	id     string
	output *cli.Output
}

func notificationNames(cfg *config.Config) []string {
	var names []string
	for _, n := range cfg.Notify {
		names = append(names, n.Name)
	}
	return names
}

func newNotifications(env cli.Env) *cobra.Command {
	o := &notificationsOptions{env: env}
	cmd := &cobra.Command{
		Use: "notifications [NAME]", Short: "Lists what applications were told of users", Long: notificationsHelp,
		Example: "  rollcall notifications\n  rollcall notifications welcome --failed",
		Args:    cli.OneArg("notification", 0), ValidArgsFunction: env.Named(notificationNames),
	}
	cmd.Flags().BoolVar(&o.failed, "failed", false, "list those that failed")
	cmd.Flags().IntVar(&o.limit, "limit", 50, fmt.Sprintf("how many to list, at most %d", mostNotifications))
	cmd.SetUsageTemplate(strings.Replace(cmd.UsageTemplate(), " for more information about a command", " for more", 1)) // 80 columns
	o.output = cli.AddOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.limit < 1 || o.limit > mostNotifications {
			return cli.Usagef("--limit: write a number from 1 to %d", mostNotifications)
		}
		return o.on(cmd, args, o.show)
	}
	cmd.AddCommand(newNotificationsRetry(env))
	return cmd
}

func newNotificationsRetry(env cli.Env) *cobra.Command {
	o := &notificationsOptions{env: env}
	cmd := &cobra.Command{
		Use: "retry [NAME]", Short: "Makes failed notifications due again", Long: notificationsRetryHelp,
		Args: cli.OneArg("notification", 0), ValidArgsFunction: env.Named(notificationNames),
	}
	cmd.Flags().StringVar(&o.id, "id", "", "only the one with an `ID`")
	o.output = cli.AddOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return o.on(cmd, args, o.retry) }
	return cmd
}

// on runs a command on the database. A name need not be configured any more.
func (o *notificationsOptions) on(cmd *cobra.Command, args []string, do func(context.Context, *postgres.DB, string) error) error {
	s, err := o.env.Load(cmd)
	if err != nil {
		return err
	}
	name := ""
	if len(args) == 1 {
		if name = args[0]; !config.IsName(name) {
			return cli.Usagef("%q is no name of a notification", name)
		}
	}
	return o.env.OnDatabase(s, func(db *postgres.DB) error {
		if err := db.Migrated(cmd.Context()); err != nil {
			return err
		}
		return do(cmd.Context(), db, name)
	})
}

func (o *notificationsOptions) show(ctx context.Context, db *postgres.DB, name string) error {
	log := db.Transitions()
	if name == "" && !o.failed {
		list, err := log.Summaries(ctx)
		if err != nil {
			return err
		}
		result := struct {
			Summaries []transitions.Summary `json:"summaries"`
		}{append([]transitions.Summary{}, list...)}
		return o.output.Write(o.env.Stdout, result, func(to io.Writer) error { return summariesText(to, list) })
	}
	f := transitions.Filter{Name: name}
	if o.failed {
		f.State = transitions.Failed
	}
	list, err := log.List(ctx, f, o.limit)
	if err != nil {
		return err
	}
	result := struct {
		Notifications []transitions.Notification `json:"notifications"`
	}{append([]transitions.Notification{}, list...)}
	return o.output.Write(o.env.Stdout, result, func(to io.Writer) error { return notificationsText(to, list) })
}

func summariesText(to io.Writer, list []transitions.Summary) error {
	var lines []string
	for _, s := range list {
		head := fmt.Sprintf("%s: pending %s, delivered %s, skipped %s, failed %s", s.Name, cli.Grouped(s.Pending), cli.Grouped(s.Delivered), cli.Grouped(s.Skipped), cli.Grouped(s.Failed))
		lines = append(lines, head)
		if s.Since != nil {
			lines = append(lines, "  configured since "+shownTime(*s.Since))
		}
		if s.Oldest != nil {
			lines = append(lines, "  the oldest pending one is of "+shownTime(*s.Oldest))
		}
	}
	if len(list) == 0 {
		lines = append(lines, "no notification is configured")
	}
	_, err := fmt.Fprintln(to, strings.Join(lines, "\n"))
	return err
}

func notificationsText(to io.Writer, list []transitions.Notification) error {
	var lines []string
	for i := range list {
		n := &list[i]
		lines = append(lines, fmt.Sprintf("%s  %-9s  %s  %s", shownTime(n.NotedAt), n.State, n.Name, n.Type),
			oneLine("  "+n.Source+"  "+n.RowID), "  "+n.ID)
		if n.DueAt != nil {
			lines = append(lines, fmt.Sprintf("  attempts: %d, next %s", n.Attempts, shownTime(*n.DueAt)))
		}
		if n.Error != "" {
			lines = append(lines, terminal.Fill("  "+oneLine(n.Error), 2)...)
		}
	}
	if len(list) == 0 {
		lines = append(lines, "no notifications")
	}
	_, err := fmt.Fprintln(to, strings.Join(lines, "\n"))
	return err
}

func (o *notificationsOptions) retry(ctx context.Context, db *postgres.DB, name string) error {
	n, err := db.Transitions().Retry(ctx, transitions.Filter{Name: name, ID: o.id})
	if errors.Is(err, transitions.ErrUnknown) {
		return cli.Usagef("--id: %w", err)
	}
	if err == nil && n > 0 {
		err = auditlog.Note(ctx, db.Pool(), auditlog.Entry{Who: operator(o.env), Action: "retry notifications", Object: name + o.id, Result: cli.Grouped(n)})
	}
	if err != nil {
		return err
	}
	result := struct {
		Retried int64 `json:"retried"`
	}{n}
	if err := o.output.Write(o.env.Stdout, result, func(to io.Writer) error {
		_, err := fmt.Fprintln(to, "due again: "+cli.Grouped(n))
		return err
	}); err != nil {
		return err
	}
	if n == 0 {
		return errors.New("no such notification has failed; rollcall notifications --failed lists those that have")
	}
	return nil
}
