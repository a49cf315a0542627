package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"rollcall/internal/doctor"
	"rollcall/internal/event"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/erasure"
	"rollcall/internal/postgres/history"
	"rollcall/internal/postgres/tasks"
	"rollcall/internal/postgres/transitions"
	"rollcall/internal/replay"
)

// register adds all operations.
func (a *Admin) register() {
	handle(a, operation(http.MethodGet, "/status", "Get status"), a.status)
	handle(a, operation(http.MethodGet, "/targets", "List targets"), a.targets)
	handle(a, operation(http.MethodPost, "/reload", "Reload configuration", http.StatusUnprocessableEntity), a.reload)
	handle(a, operation(http.MethodGet, "/findings", "List findings"), a.findings)
	handle(a, operation(http.MethodGet, "/events", "List events"), a.events)
	handle(a, operation(http.MethodGet, "/events/{source}/{id}", "Get event", http.StatusNotFound), a.event)
	handle(a, operation(http.MethodGet, "/events/{source}/{id}/replay", "Foresee replay", http.StatusNotFound), a.foresee)
	handle(a, operation(http.MethodPost, "/events/{source}/{id}/replay", "Replay event", http.StatusNotFound), a.replayEvent)
	handle(a, operation(http.MethodGet, "/replay", "Foresee replay of events", http.StatusUnprocessableEntity), a.foreseeChoice)
	handle(a, operation(http.MethodGet, "/users", "Find users"), a.users)
	handle(a, operation(http.MethodPost, "/users/{source}/{id}/settle", "Settle user"), a.settle)
	handle(a, operation(http.MethodPost, "/users/{source}/{id}/erase", "Erase user", http.StatusNotFound, http.StatusConflict), a.erase)
	handle(a, operation(http.MethodGet, "/parked", "List parked"), a.parked)
	handle(a, operation(http.MethodPost, "/parked/give-up", "Give up parked", http.StatusUnprocessableEntity), a.giveUp)
	handle(a, operation(http.MethodGet, "/notifications", "List notifications", http.StatusUnprocessableEntity), a.notifications)
	handle(a, operation(http.MethodPost, "/notifications/retry", "Retry notifications", http.StatusUnprocessableEntity), a.retryNotifications)
	handle(a, operation(http.MethodPost, "/samples", "Try sample", http.StatusUnprocessableEntity), a.trySample)
	handle(a, operation(http.MethodGet, "/tasks", "List tasks"), a.tasks)
	begin := operation(http.MethodPost, "/tasks", "Begin task", http.StatusUnprocessableEntity)
	begin.DefaultStatus = http.StatusAccepted
	handle(a, begin, a.beginTask)
	handle(a, operation(http.MethodGet, "/tasks/{id}", "Get task", http.StatusNotFound), a.task)
	handle(a, operation(http.MethodPost, "/tasks/{id}/stop", "Stop task", http.StatusNotFound), a.stopTask)
}

// queryTimeout bounds the questions that one request asks: the listener gives an answer a little longer.
const queryTimeout = 15 * time.Second

// answered is an answer with a JSON body.
type answered[T any] struct{ Body T }

// handle has an operation answered by a function, in bounded time. A client that leaves does not cancel a question to
// the database, which would close a connection.
func handle[In, Out any](a *Admin, op huma.Operation, do func(context.Context, *In) (Out, error)) {
	huma.Register(a.api, op, func(ctx context.Context, in *In) (*answered[Out], error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
		defer cancel()
		out, err := do(ctx, in)
		if err != nil {
			return nil, a.failure(op.Summary, err)
		}
		return &answered[Out]{out}, nil
	})
}

// failure is the answer to an error. What the caller can't mend is logged, and not told.
func (a *Admin) failure(what string, err error) error {
	var misfit *MisfitError
	var told huma.StatusError
	switch {
	case errors.As(err, &told):
		return err
	case errors.As(err, &misfit):
		return huma.Error422UnprocessableEntity("the request does not fit the configuration",
			&huma.ErrorDetail{Message: misfit.Message, Location: "body." + misfit.Field, Value: misfit.Value})
	case errors.Is(err, tasks.ErrUnknown), errors.Is(err, ErrNoEvent), errors.Is(err, erasure.ErrUnknownUser):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, erasure.ErrLiving):
		return huma.Error409Conflict("the user is not deleted; send living: true to erase them all the same")
	case errors.Is(err, history.ErrCursor):
		return huma.Error422UnprocessableEntity(err.Error())
	}
	a.operator.Log.Warn("an admin request failed", "request", what, "error", err)
	return huma.Error503ServiceUnavailable("the database does not answer, or refuses; the log says why")
}

func (a *Admin) status(ctx context.Context, _ *struct{}) (Status, error) {
	return a.operator.Status(ctx), nil
}

type targetList struct {
	Targets []Target `json:"targets"`
}

func (a *Admin) targets(ctx context.Context, _ *struct{}) (targetList, error) {
	list, err := a.operator.Targets(ctx)
	return targetList{list}, err
}

func (a *Admin) reload(ctx context.Context, _ *struct{}) (Reloaded, error) {
	done, err := a.operator.Reload(ctx, holder(ctx))
	if err != nil { // it says what is wrong with the file
		return done, huma.Error422UnprocessableEntity("the configuration is not reloaded; nothing has changed", err)
	}
	return done, nil
}

func (a *Admin) findings(context.Context, *struct{}) (*doctor.Diagnosis, error) {
	d := *a.operator.Findings()
	d.Findings, d.Unseen = append([]doctor.Finding{}, d.Findings...), append([]doctor.Unseen{}, d.Unseen...)
	return &d, nil
}

// eventQuery asks for a page of events, the newest first.
type eventQuery struct {
	EventChoice

	After string `query:"after" doc:"next of the page before"`
	Limit int    `query:"limit" default:"50" minimum:"1" maximum:"500"`
}

func (a *Admin) events(ctx context.Context, in *eventQuery) (history.Page, error) {
	return a.operator.DB.History().List(ctx, in.Filter(), history.Paging{Limit: in.Limit, After: in.After})
}

// Named is a source and an id in a path.
type Named struct {
	Source string `path:"source"`
	ID     string `path:"id"`
}

func (a *Admin) event(ctx context.Context, in *struct {
	Named

	Reveal bool `query:"reveal" doc:"show personal data; the audit log notes it"`
}) (EventBody, error) {
	return a.operator.Body(ctx, holder(ctx), EventKey{in.Source, in.ID}, in.Reveal)
}

func (a *Admin) foresee(ctx context.Context, in *Named) (*replay.Foreseen, error) {
	return a.operator.Foresee(ctx, in.Source, in.ID)
}

func (a *Admin) foreseeChoice(ctx context.Context, in *EventChoice) (ForeseenChoice, error) {
	return a.operator.ForeseeChoice(ctx, *in)
}

func (a *Admin) replayEvent(ctx context.Context, in *Named) (replay.Result, error) {
	return a.operator.ReplayEvent(ctx, holder(ctx), in.Source, in.ID)
}

type userList struct {
	Users []User `json:"users"`
}

func (a *Admin) users(ctx context.Context, in *struct {
	Who string `query:"who" required:"true" minLength:"1" doc:"an id, or a user's e-mail"`
}) (userList, error) {
	list, err := a.operator.Users(ctx, in.Who)
	return userList{list}, err
}

type settled struct {
	Outcome event.Outcome `json:"outcome"`
}

func (a *Admin) settle(ctx context.Context, in *Named) (settled, error) {
	outcome, err := a.operator.Settle(ctx, holder(ctx), in.Source, in.ID)
	return settled{outcome}, err
}

type erasureBody struct {
	Living bool `json:"living,omitempty" doc:"erase a user who is not deleted, too"`
}

func (a *Admin) erase(ctx context.Context, in *struct {
	Named

	Body erasureBody
}) (erasure.Result, error) {
	return a.operator.Erase(ctx, holder(ctx), erasure.Request{Source: in.Source, ID: in.ID, Living: in.Body.Living})
}

type parkedList struct {
	Groups []audit.ParkedGroup `json:"groups"`
}

func (a *Admin) parked(ctx context.Context, in *struct {
	Target string `query:"target"`
	User   string `query:"user" doc:"id of a row, or of a user, whose memberships count, too"`
}) (parkedList, error) {
	groups, err := a.operator.Parked(ctx, one(in.Target), one(in.User))
	return parkedList{groups}, err
}

// giveUp asks to try parked rows no more.
type givenUp struct {
	Rows int64 `json:"rows"`
}

func (a *Admin) giveUp(ctx context.Context, in *struct {
	Body struct {
		Target string   `json:"target"`
		IDs    []string `json:"ids,omitempty" doc:"rows, or users whose memberships they are; all of the target without"`
	}
}) (givenUp, error) {
	n, err := a.operator.GiveUp(ctx, holder(ctx), in.Body.Target, in.Body.IDs)
	return givenUp{n}, err
}

func (a *Admin) notifications(ctx context.Context, in *struct {
	Name  string `query:"name" doc:"as configured; all without"`
	State string `query:"state" enum:"pending,delivered,skipped,failed"`
	ID    string `query:"id" doc:"msg_ and 32 hex digits, the receiver's webhook-id"`
	Limit int    `query:"limit" default:"50" minimum:"1" maximum:"500"`
}) (Notifications, error) {
	return a.operator.Notifications(ctx, transitions.Filter{Name: in.Name, State: in.State, ID: in.ID}, in.Limit)
}

type retriedNotifications struct {
	Retried int64 `json:"retried"`
}

func (a *Admin) retryNotifications(ctx context.Context, in *struct {
	Body struct {
		Name string `json:"name,omitempty" doc:"as configured; all without"`
		ID   string `json:"id,omitempty" doc:"one only"`
	}
}) (retriedNotifications, error) {
	n, err := a.operator.RetryNotifications(ctx, holder(ctx), transitions.Filter{Name: in.Body.Name, ID: in.Body.ID})
	return retriedNotifications{n}, err
}

// page is which part of a list is wanted, newest first.
type page struct {
	Before int64 `query:"before" minimum:"0" doc:"the next of the page before; 0 for the first page"`
	Limit  int   `query:"limit" default:"50" minimum:"1" maximum:"500"`
}

type taskList struct {
	Tasks []tasks.Task `json:"tasks"`
	Next  int64        `json:"next,omitempty" doc:"before of the next page; absent on the last"`
}

func (a *Admin) tasks(ctx context.Context, in *page) (out taskList, err error) {
	out.Tasks, err = a.operator.Tasks.Page(ctx, in.Before, in.Limit+1)
	if len(out.Tasks) > in.Limit {
		out.Tasks = out.Tasks[:in.Limit]
		out.Next = out.Tasks[in.Limit-1].ID
	}
	return out, err
}

func (a *Admin) beginTask(ctx context.Context, in *struct{ Body TaskRequest }) (tasks.Task, error) {
	return a.operator.Begin(ctx, holder(ctx), in.Body)
}

type taskID struct {
	ID int64 `path:"id" minimum:"1"`
}

func (a *Admin) task(ctx context.Context, in *taskID) (tasks.Task, error) {
	return a.operator.Tasks.Get(ctx, in.ID)
}

func (a *Admin) stopTask(ctx context.Context, in *taskID) (tasks.Task, error) {
	return a.operator.Stop(ctx, holder(ctx), in.ID)
}
