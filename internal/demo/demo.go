// Package demo shows the service at work, with the tables of three applications on a private PostgreSQL. It
// sends signed requests as the providers would, and shows their outcomes and what changes. It hides the database, the
// service and the story:
//
//	err := demo.Run(ctx, demo.Options{Out: os.Stdout})
package demo

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"rollcall/internal/app"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/tokens"
	"rollcall/internal/source"
	"rollcall/internal/testevent"
)

var (
	//go:embed schema.sql
	schema string
	//go:embed rollcall.yaml
	configuration []byte
)

// trickle is the pause between two requests once the story is told.
const trickle = 3 * time.Second

// Options are what Run takes.
type Options struct {
	Out     io.Writer
	Colours bool
	// Version is that of the program.
	Version string
	// Once ends after the story.
	Once bool
}

// demo is a running demo.
type demo struct {
	options  Options
	view     *view
	database *database
	base     string // of the public listener
	sources  map[string]*source.Source
	sender   *testevent.Sender
	setup    *app.Setup
	last     map[string]testevent.Request // by source
	webhooks chan webhook                 // what the service has answered
	receiver *receiver                    // of notifications
}

// database is a private PostgreSQL. Its directory is removed with it, and no other account can read it.
type database struct {
	url, dir string
	close    func() error
}

// unread is how many lines of webhooks may wait to be shown.
const unread = 256

// Run tells the story; without Once it goes on with slow traffic until the context ends. A demo that is
// ended by its context has no error.
func Run(ctx context.Context, o Options) (err error) {
	d := &demo{
		options: o, view: newView(o), sources: map[string]*source.Source{},
		last: map[string]testevent.Request{}, webhooks: make(chan webhook, unread),
	}
	d.view.line(dim, "starting a private PostgreSQL …")
	if d.database, err = startDatabase(ctx); err != nil {
		return unlessAsked(ctx, err)
	}
	defer func() { err = errors.Join(unlessAsked(ctx, err), d.database.close()) }()
	if _, err := postgres.Inspect(ctx, d.database.url, schema); err != nil {
		return fmt.Errorf("make the applications' tables: %w", err)
	}
	return d.serveAndTell(ctx)
}

// unlessAsked drops what went wrong because a signal has ended the demo.
func unlessAsked(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return nil
	default:
		return err
	}
}

// variables are an environment.
type variables map[string]string

func (v variables) get(name string) string { return v[name] }

// environment holds the database and secrets that are made up for this run.
func environment(database string) variables {
	secret := func(prefix string) string {
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		return prefix + base64.StdEncoding.EncodeToString(key)
	}
	return variables{
		"DATABASE_URL": database, "ADMIN_TOKEN": secret(""), "SUPABASE_DB_WEBHOOK_SECRET": secret(""),
		"CLERK_WEBHOOK_SIGNING_SECRET": secret("whsec_"), "SUPABASE_AUTH_HOOK_SECRET": secret("v1,whsec_"),
		"WELCOME_SECRET": secret("whsec_"),
	}
}

// serveAndTell runs the service, with its log kept aside, and sends it the requests of the story.
func (d *demo) serveAndTell(ctx context.Context) error {
	values := environment(d.database.url)
	var err error
	if d.receiver, err = startReceiver(ctx, values["WELCOME_SECRET"]); err != nil {
		return err
	}
	defer d.receiver.stop()
	values["WELCOME_URL"] = d.receiver.url
	s, err := app.Read("demo/rollcall.yaml", configuration, values.get)
	if err != nil {
		return err
	}
	d.setup = s
	for _, src := range s.Sources {
		d.sources[src.Name()] = src
	}
	log := &Tail{}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	listening, ready, ended := make(chan net.Addr, 1), make(chan struct{}), make(chan error, 1)
	go func() {
		defer stop() // the story can't go on without it
		ended <- app.Run(serving, app.Options{
			Setup: s, Log: s.Logger(webhooksIn{log, d.webhooks}), Version: d.options.Version,
			Listening: func(public, _ net.Addr) { listening <- public },
			Ready:     func() { close(ready) },
		})
	}()
	select {
	case at := <-listening:
		d.base = "http://" + at.String()
	case err := <-ended:
		return fmt.Errorf("serve ended before it listened: %w", err)
	}
	d.sender = testevent.NewSender(d.base)
	err = d.tell(serving, ready)
	stop()
	err = errors.Join(err, <-ended)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w\nthe last lines of serve's log:\n%s", err, log)
	}
	return nil // ended by a signal, as asked
}

// awaitReady waits until the service can commit: it listens before that, and lets a sign-up go on
// unannounced after a second.
func awaitReady(ctx context.Context, ready <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait until serve is ready: %w", ctx.Err())
	}
}

func (d *demo) tell(ctx context.Context, ready <-chan struct{}) error {
	if err := awaitReady(ctx, ready); err != nil {
		return err
	}
	if err := d.secure(ctx); err != nil {
		return err
	}
	d.view.line(dim, "serve listens at "+d.base+"; five targets follow two sources")
	for n, s := range story {
		if err := d.play(ctx, n+1, s); err != nil {
			return err
		}
	}
	if d.options.Once {
		d.view.line(plain, "")
		d.view.line(plain, "Next: your own database; the README says how.")
		return nil
	}
	if err := d.invite(); err != nil {
		return err
	}
	d.view.line(plain, "")
	d.view.line(plain, "The story is told; it goes on slowly until Ctrl-C. "+
		"In another terminal, sign up yourself (join, by curl) or see the roll (look, with psql):")
	d.showInvitation(plain)
	return d.traffic(ctx)
}

// rolesSQL makes the roles of Supabase that scenes ask as.
const rolesSQL = "create role supabase_auth_admin; create role authenticated"

// secure does what rollcall claims install does, and runs what rollcall rls print profiles prints.
func (d *demo) secure(ctx context.Context) error {
	if _, err := postgres.Inspect(ctx, d.database.url, rolesSQL); err != nil {
		return err
	}
	db, err := d.setup.Open(slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer db.Close()
	on := tokens.Tokens{Pool: db.Pool()}
	for _, c := range d.setup.Claims() {
		if err := on.Install(ctx, &c); err != nil {
			return err
		}
	}
	script, err := on.Policy(ctx, &d.setup.Targets[0], "authenticated")
	if err == nil {
		_, err = postgres.Inspect(ctx, d.database.url, script)
	}
	return err
}

// play runs a scene and shows what has changed.
func (d *demo) play(ctx context.Context, n int, s scene) error {
	d.view.line(plain, "")
	d.view.folded(bold, fmt.Sprintf("%2d. %s", n, s.says), 4)
	if s.sql != "" {
		d.view.line(dim, "    "+s.sql)
		if _, err := postgres.Inspect(ctx, d.database.url, s.sql); err != nil {
			return err
		}
	}
	if s.request != nil {
		if err := d.post(ctx, s.request); err != nil {
			return err
		}
	}
	for _, query := range s.asks {
		rows, err := postgres.Inspect(ctx, d.database.url, query)
		if err != nil {
			return err
		}
		d.view.line(dim, "    "+query)
		d.view.rows(rows)
	}
	if err := d.showTold(ctx, s.told); err != nil {
		return err
	}
	return d.showTables(ctx)
}

// post sends a request and shows its outcome.
func (d *demo) post(ctx context.Context, r *request) error {
	signed, err := d.sign(r)
	if err != nil {
		return err
	}
	d.last[r.source] = signed
	a, err := d.sender.Post(ctx, signed)
	if err != nil {
		return err
	}
	shown := webhook{
		Source: r.source, Type: signed.Event().Type, Outcome: a.Outcome, Status: a.Status, Seconds: a.Took.Seconds(),
	}
	d.awaitOwn(ctx, shown)
	d.view.request("", shown)
	return nil
}

// sign makes and signs a request. What is forged is changed only then.
func (d *demo) sign(r *request) (testevent.Request, error) {
	if r.again {
		return d.last[r.source], nil
	}
	src := d.sources[r.source]
	sample, ok := testevent.Find(src, r.event)
	if !ok {
		return testevent.Request{}, fmt.Errorf("source %s has no built-in event %s", r.source, r.event)
	}
	body := sample.Body(time.Now().Add(-r.age))
	changed, err := testevent.Apply(body, r.set)
	if err != nil {
		return testevent.Request{}, err
	}
	if !r.forged {
		body = changed
	}
	signed, err := testevent.Seal(src, sample.Endpoint, body)
	signed.Body = changed
	return signed, err
}

func (d *demo) showTables(ctx context.Context) error {
	for _, t := range watched {
		rows, err := postgres.Inspect(ctx, d.database.url, t.sql)
		if err != nil {
			return err
		}
		d.view.table(t.name, t.key, rows)
	}
	return nil
}

// The scripts with which people take part.
const (
	joinScript = "join"
	lookScript = "look"
)

// invite writes the scripts with which people take part. A signature is good for five minutes.
func (d *demo) invite() error {
	signed, err := d.sign(&request{source: source.Clerk, event: "user.created", set: []testevent.Change{
		text(clerkID, "user_2RollcallSampleYou0000000000"), text(clerkMail, "you@example.com"),
		text("data.first_name", "You"),
	}})
	if err != nil {
		return err
	}
	u, err := url.Parse(d.database.url)
	if err != nil {
		return err
	}
	password, _ := u.User.Password()
	u.User = url.User(u.User.Username()) // every local user can list the arguments of psql
	look := fmt.Sprintf("PGPASSWORD=%s psql '%s' -P pager=off -c 'select source, id, email, full_name, deleted_at from rollcall.users order by changed_at desc limit 10'\n", password, u)
	return errors.Join(
		os.WriteFile(d.script(joinScript), []byte(signed.Curl(d.base)), 0o600),
		os.WriteFile(d.script(lookScript), []byte(look), 0o600),
	)
}

func (d *demo) script(name string) string { return filepath.Join(d.database.dir, name) }

// showInvitation says how to take part.
func (d *demo) showInvitation(p paint) {
	d.view.command(p, "sh "+d.script(joinScript))
	d.view.command(p, "sh "+d.script(lookScript))
}

// traffic goes on with new users: each signs up, gets another name and is deleted.
func (d *demo) traffic(ctx context.Context) error {
	for guest := 1; ; guest++ {
		id := text(clerkID, fmt.Sprintf("user_2RollcallSampleGuest%d0000000000", guest))
		mail := text(clerkMail, fmt.Sprintf("guest%d@example.com", guest))
		name := func(of string) testevent.Change { return text("data.first_name", fmt.Sprint(of, " ", guest)) }
		for _, r := range []request{
			{source: source.Clerk, event: "user.created", set: []testevent.Change{id, mail, name("Guest")}},
			{source: source.Clerk, event: "user.updated", set: []testevent.Change{id, mail, name("Renamed"), text("data.last_name", "Example")}},
			{source: source.Clerk, event: "user.deleted", set: []testevent.Change{id}},
		} {
			if err := d.rest(ctx); err != nil || ctx.Err() != nil {
				return err
			}
			if err := d.post(ctx, &r); err != nil {
				return err
			}
			if err := d.showTables(ctx); err != nil {
				return err
			}
		}
		if err := d.invite(); err != nil { // before the signature is too old
			return err
		}
		d.showInvitation(dim) // what it showed before has scrolled away
	}
}

// rest waits between two requests, and shows what people do meanwhile.
func (d *demo) rest(ctx context.Context) error {
	pause := time.After(trickle)
	for {
		select {
		case line := <-d.webhooks:
			d.view.visitor(line)
			if err := d.showTables(ctx); err != nil {
				return err
			}
		case one := <-d.receiver.told:
			d.view.told(one)
		case <-pause:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}
