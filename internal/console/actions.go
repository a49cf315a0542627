package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"rollcall/internal/admin"
	"rollcall/internal/event"
	"rollcall/internal/postgres/claims"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/erasure"
	"rollcall/internal/postgres/transitions"
)

// action is a change that a page offers. It asks once, and is done once however often its form is sent.
type action struct {
	title  string
	fields []string // what the form carries
	// ask is the question.
	ask func(url.Values) string
	do  func(ctx context.Context, o *admin.Operator, by string, form url.Values) (done, error)
}

// done is what an action has done.
type done struct {
	Message string
	To      string // the page that shows it
}

// doTimeout bounds an action: the listener gives an answer a little longer.
const doTimeout = 15 * time.Second

// begun is an action that begins long work.
func begun(kind, title, question string) action {
	return action{
		title: title, fields: []string{"subject", "repair"},
		ask: func(f url.Values) string { return fmt.Sprintf(question, f.Get("subject")) },
		do: func(ctx context.Context, o *admin.Operator, by string, f url.Values) (done, error) {
			return begin(ctx, o, by, admin.TaskRequest{Kind: kind, Subject: f.Get("subject"), Repair: f.Get("repair") != ""})
		},
	}
}

func begin(ctx context.Context, o *admin.Operator, by string, r admin.TaskRequest) (done, error) {
	t, err := o.Begin(ctx, by, r)
	return done{fmt.Sprintf("Task %d has begun.", t.ID), "/jobs"}, err
}

// rowsOf names what an action on parked rows is about: all of a target, or those of one id.
func rowsOf(f url.Values) string {
	if id := f.Get("id"); id != "" {
		return "the row of " + id + " that " + f.Get("target") + " refuses"
	}
	return "all rows that " + f.Get("target") + " refuses"
}

// notificationsOf names what is sent again.
func notificationsOf(f url.Values) string {
	if id := f.Get("id"); id != "" {
		return "the notification " + id
	}
	return "each notification of " + f.Get("name") + " that has failed"
}

// back is the page of parked rows, or of the user that an action is about.
func back(f url.Values, list string) string {
	if id := f.Get("id"); id != "" {
		return "/users?" + url.Values{"who": {id}}.Encode()
	}
	return list
}

// actions are all of them, by the name in their paths.
var actions = map[string]action{
	"check":     begun(admin.Check, "Check the targets", "Compare every row of the roll with its row in every target?%.0s"),
	"backfill":  begun(admin.Backfill, "Backfill", "Write every row of the roll to the target %s? Rows that are right stay as they are."),
	"reconcile": begun(admin.Reconcile, "Reconcile", "Compare the roll with all users of %s, and correct the roll?"),
	"retry": {
		title: "Try again", fields: []string{"target", "id"},
		ask: func(f url.Values) string { return "Try " + rowsOf(f) + " again, also what was given up?" },
		do: func(ctx context.Context, o *admin.Operator, by string, f url.Values) (done, error) {
			d, err := begin(ctx, o, by, admin.TaskRequest{Kind: admin.Retry, Subject: f.Get("target"), IDs: list(f.Get("id"))})
			d.To = back(f, d.To)
			return d, err
		},
	},
	"replay-events": {
		title: "Replay events", fields: choiceFields,
		ask: func(f url.Values) string {
			return "Replay " + f.Get("events") + " events? The page before says what the first of them would change."
		},
		do: func(ctx context.Context, o *admin.Operator, by string, f url.Values) (done, error) {
			c, wrong := eventFilterOf(f).choice(time.Now())
			if wrong != "" {
				return done{}, &admin.MisfitError{Field: "since", Message: wrong}
			}
			return begin(ctx, o, by, admin.TaskRequest{Kind: admin.Replay, Events: &c})
		},
	},
	"replay": {
		title: "Replay", fields: []string{"source", "id"},
		ask: func(f url.Values) string {
			return "Replay event " + f.Get("id") + " of " + f.Get("source") + "? The page before says what it would change."
		},
		do: func(ctx context.Context, o *admin.Operator, by string, f url.Values) (done, error) {
			r, err := o.ReplayEvent(ctx, by, f.Get("source"), f.Get("id"))
			return done{"The event was replayed: " + string(r.Became) + reason(r.Reason), eventPath(f)}, err
		},
	},
	"reveal": {
		title: "Show personal data", fields: []string{"path"},
		ask: func(url.Values) string {
			return "Show the personal data of this event? The audit log notes that you have seen them."
		},
		do: func(_ context.Context, _ *admin.Operator, _ string, f url.Values) (done, error) {
			return done{"Go on to see them.", local(f.Get("path")) + "?reveal=1"}, nil
		},
	},
	"settle": {
		title: "Settle", fields: []string{"source", "id"},
		ask: func(f url.Values) string {
			return "Bring every target's row of " + f.Get("id") + " in step with the roll?"
		},
		do: func(ctx context.Context, o *admin.Operator, by string, f url.Values) (done, error) {
			outcome, err := o.Settle(ctx, by, f.Get("source"), f.Get("id"))
			return done{"The user was settled: " + string(outcome) + ".", "/users?" + url.Values{"who": {f.Get("id")}}.Encode()}, err
		},
	},
	"give-up": {
		title: "Give up", fields: []string{"target", "id"},
		ask: func(f url.Values) string {
			return "Give up " + rowsOf(f) + "? Nothing is tried until a new event about it, or until you try again."
		},
		do: func(ctx context.Context, o *admin.Operator, by string, f url.Values) (done, error) {
			n, err := o.GiveUp(ctx, by, f.Get("target"), list(f.Get("id")))
			return done{fmt.Sprintf("Rows given up: %s.", grouped(n)), back(f, "/parked")}, err
		},
	},
	"retry-notifications": {
		title: "Send again", fields: []string{"name", "id"},
		ask: func(f url.Values) string {
			return "Send " + notificationsOf(f) + " again, as if it had not been tried?"
		},
		do: func(ctx context.Context, o *admin.Operator, by string, f url.Values) (done, error) {
			n, err := o.RetryNotifications(ctx, by, transitions.Filter{Name: f.Get("name"), ID: f.Get("id")})
			return done{fmt.Sprintf("Notifications due again: %s.", grouped(n)), "/notifications"}, err
		},
	},
	"erase": {
		title: "Erase", fields: []string{"source", "id"},
		ask: func(f url.Values) string {
			return "Erase all personal data that Rollcall keeps of " + f.Get("id") + " of " + f.Get("source") +
				"? This can't be undone. A user who is not deleted at the provider is refused."
		},
		do: func(ctx context.Context, o *admin.Operator, by string, f url.Values) (done, error) {
			e, err := o.Erase(ctx, by, erasure.Request{Source: f.Get("source"), ID: f.Get("id")})
			return done{erased(e), "/users?" + url.Values{"who": {f.Get("id")}}.Encode()}, err
		},
	},
	"sample": {
		title: "Send the sample", fields: []string{"source", "event", "user", "set"},
		ask: func(f url.Values) string {
			return "Send the sample " + f.Get("event") + " of " + f.Get("source") + ", signed, to this service? It is applied as one of the provider's: " +
				"a made-up user, or what it says of one, is written into the roll and into every target that follows " + f.Get("source") + "."
		},
		do: sendSample,
	},
	"reload": {
		title: "Reload the configuration",
		ask: func(url.Values) string {
			return "Read the configuration file of this replica again, and work by it? A file with a mistake changes nothing."
		},
		do: func(ctx context.Context, o *admin.Operator, by string, _ url.Values) (done, error) {
			r, err := o.Reload(ctx, by)
			if err != nil {
				return done{}, &admin.MisfitError{Field: "configuration", Message: err.Error()}
			}
			return done{fmt.Sprintf("The configuration is reloaded: %d targets added, %d changed, %d removed.",
				len(r.Targets.Added), len(r.Targets.Changed), len(r.Targets.Removed)), "/"}, nil
		},
	},
	"stop": {
		title: "Stop a task", fields: []string{"id"},
		ask: func(f url.Values) string {
			return "Stop task " + f.Get("id") + "? A backfill or a reconciliation goes on there when it is begun again."
		},
		do: func(ctx context.Context, o *admin.Operator, by string, f url.Values) (done, error) {
			id, err := strconv.ParseInt(f.Get("id"), 10, 64)
			if err != nil {
				return done{}, &admin.MisfitError{Field: "id", Value: f.Get("id"), Message: "this is no number of a task"}
			}
			t, err := o.Stop(ctx, by, id)
			return done{fmt.Sprintf("Task %d: %s.", t.ID, stopping(t.State)), "/jobs"}, err
		},
	},
}

func reason(text string) string {
	if text == "" {
		return "."
	}
	return ", " + text + "."
}

func eventPath(f url.Values) string {
	return "/events/" + url.PathEscape(f.Get("source")) + "/" + url.PathEscape(f.Get("id"))
}

// erased says what an erasure has left.
func erased(e erasure.Result) string {
	var text strings.Builder
	fmt.Fprintf(&text, "The user is erased, with %d bodies of events and %d memberships.", e.Bodies, e.Memberships)
	for _, r := range e.Remaining {
		fmt.Fprintf(&text, " A row is left in %s (%s): %s.", r.Table, r.Target, r.Why)
	}
	return text.String()
}

func stopping(state string) string {
	if state == "running" {
		return "it is told to stop"
	}
	return state
}

// confirmData is what the page shows that asks.
type confirmData struct {
	Action, Title, Question, Back, Key string
	Fields                             []field
}

type field struct{ Name, Value string }

// confirm asks whether an action is to be done.
func (c *Console) confirm(r *http.Request) (any, error) {
	name := chi.URLParam(r, "action")
	a, known := actions[name]
	if !known {
		return nil, &notFoundError{"There is no such action."}
	}
	form := r.URL.Query()
	d := confirmData{Action: name, Title: a.title, Question: event.Printable(a.ask(form)), Back: local(form.Get("back")), Key: rand.Text()}
	for _, f := range a.fields {
		if value := form.Get(f); value != "" {
			d.Fields = append(d.Fields, field{f, value})
		}
	}
	return d, nil
}

// do does an action, or shows what became of it when its form comes again.
func (c *Console) do(w http.ResponseWriter, r *http.Request) {
	name := chi.URLParam(r, "action")
	a, known := actions[name]
	if !known || r.PostForm.Get("key") == "" {
		c.fail(w, r, http.StatusNotFound, "There is no such action.")
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), doTimeout)
	defer cancel()
	change := claims.Change{Holder: sessionOf(ctx).Holder, Key: keyPrefix + r.PostForm.Get("key")}
	kept, err := c.config.Operator.Claims.Claim(ctx, change, requestOf(name, r.PostForm))
	switch {
	case err != nil:
		c.failed(w, r, name, err)
	case kept == nil:
		c.doOnce(w, r.WithContext(ctx), change, a)
	case kept.Status == nil && !c.awaitDone(ctx, change):
		c.fail(w, r, http.StatusConflict, "This was sent twice, and the first has failed or is still under way. Look at the page again in a moment.")
	default:
		showDone(w, r, change)
	}
}

// awaitDone waits for the end of an action whose form was sent twice, as by a double click: the browser shows the
// answer to the second. It reports whether the action is done.
func (c *Console) awaitDone(ctx context.Context, change claims.Change) bool {
	for {
		kept, err := c.config.Operator.Claims.Kept(ctx, change)
		switch {
		case err != nil || kept == nil:
			return false
		case kept.Status != nil:
			return true
		}
		if connection.Pause(ctx, awaitPause) != nil {
			return false
		}
	}
}

// awaitPause is the pause between two looks for the end of an action.
const awaitPause = 100 * time.Millisecond

// showDone goes on to a page of its own, so that neither reloading nor going back sends the form again.
func showDone(w http.ResponseWriter, r *http.Request, change claims.Change) {
	key := strings.TrimPrefix(change.Key, keyPrefix)
	http.Redirect(w, r, "/done/"+url.PathEscape(chi.URLParam(r, "action"))+"?"+url.Values{"key": {key}}.Encode(), http.StatusSeeOther)
}

// keyPrefix tells the console's changes from those of the API.
const keyPrefix = "console "

// done is what became of an action.
func (c *Console) done(r *http.Request) (any, error) {
	kept, err := c.config.Operator.Claims.Kept(r.Context(), claims.Change{Holder: sessionOf(r.Context()).Holder, Key: keyPrefix + r.FormValue("key")})
	if err == nil && (kept == nil || kept.Status == nil) {
		err = &notFoundError{"Nothing is known of this action any more."}
	}
	if err != nil {
		return nil, err
	}
	d := doneData{Message: string(kept.Body), To: kept.Type}
	if chi.URLParam(r, "action") == "sample" {
		d.Message, d.Sent, err = c.sampleSent(kept.Body)
	}
	return d, err
}

// doneData is what the page shows after an action.
type doneData struct {
	Message, To string
	Sent        *triedData // a sample
}

func (c *Console) doOnce(w http.ResponseWriter, r *http.Request, change claims.Change, a action) {
	var err error
	ctx := r.Context()
	result, status := done{}, http.StatusInternalServerError
	func() {
		defer func() { // also when it panics
			c.config.Operator.Claims.Keep(ctx, change, claims.Answer{Status: &status, Type: result.To, Body: []byte(result.Message)})
		}()
		if result, err = a.do(ctx, c.config.Operator, change.Holder, r.PostForm); err == nil {
			status = http.StatusOK
		}
	}()
	if err != nil {
		c.failed(w, r, a.title, err)
		return
	}
	showDone(w, r, change)
}

// failed says why an action was not done.
func (c *Console) failed(w http.ResponseWriter, r *http.Request, what string, err error) {
	var misfit *admin.MisfitError
	switch {
	case errors.As(err, &misfit):
		c.fail(w, r, http.StatusUnprocessableEntity, misfit.Message)
		return
	case errors.Is(err, erasure.ErrLiving):
		c.fail(w, r, http.StatusConflict, "The user is not deleted. Delete them at the provider first, or erase them with rollcall erase --living.")
		return
	case errors.Is(err, erasure.ErrUnknownUser), errors.Is(err, admin.ErrNoEvent):
		c.fail(w, r, http.StatusNotFound, "It is not there any more: "+err.Error()+".")
		return
	}
	c.config.Log.Warn("an action of the console failed", "action", what, "error", err)
	c.fail(w, r, http.StatusServiceUnavailable, "It was not done: "+err.Error())
}

// requestOf is a hash of an action and its fields.
func requestOf(name string, form url.Values) []byte {
	hash := sha256.New()
	for _, f := range slices.Sorted(maps.Keys(form)) {
		fmt.Fprintf(hash, "%s=%q\n", f, form[f])
	}
	fmt.Fprint(hash, name)
	return hash.Sum(nil)
}
