// Command client drives the admin API with a client that oapi-codegen makes of docs/openapi.json. It prints the id of
// each operation that has answered as the document says; a test of package console compares them with the document.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

// client is the API, and the operations that have answered.
type client struct {
	*ClientWithResponses
	ctx context.Context
}

func main() {
	log.SetFlags(log.Lshortfile)
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	address := os.Getenv("ADMIN_URL") + "/admin/v1"
	api := must(NewClientWithResponses(address, WithRequestEditorFn(bearer(os.Getenv("ADMIN_TOKEN")))))
	stranger := must(NewClientWithResponses(address, WithRequestEditorFn(bearer("a wrong token of length"))))
	refused := must(stranger.GetStatusWithResponse(ctx))
	want(refused.HTTPResponse, 401, refused.Body)
	c := &client{api, ctx}
	c.service()
	c.samples()
	c.history()
	c.people()
	c.refused()
	c.work()
}

func bearer(token string) RequestEditorFn {
	return func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+token)
		return nil
	}
}

func once(key string) RequestEditorFn {
	return func(_ context.Context, r *http.Request) error {
		r.Header.Set("Idempotency-Key", key)
		return nil
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		_ = log.Output(2, err.Error())
		os.Exit(1)
	}
	return value
}

func check(ok bool, words string, about any) {
	if !ok {
		text, _ := json.Marshal(about)
		_ = log.Output(2, fmt.Sprintf("%s: %s", words, text))
		os.Exit(1)
	}
}

func want(r *http.Response, status int, body []byte) {
	check(r.StatusCode == status, fmt.Sprintf("got %d, want %d", r.StatusCode, status), string(body))
	if status >= 400 {
		check(r.Header.Get("Content-Type") == "application/problem+json", "the error is no problem+json", r.Header)
	}
}

// answer is the body of an operation that has succeeded. It has no field that the document lacks.
func answer[T any](operation string, r *http.Response, body []byte, parsed *T) *T {
	check(parsed != nil, operation+" answered otherwise than the document says", fmt.Sprint(r.Status, " ", string(body)))
	strict := json.NewDecoder(bytes.NewReader(body))
	strict.DisallowUnknownFields()
	if err := strict.Decode(new(T)); err != nil {
		check(false, operation+" answered with what the document lacks: "+err.Error(), string(body))
	}
	fmt.Println(operation)
	return parsed
}

func problem(operation string, r *http.Response, body []byte, status int, parsed *ErrorModel) {
	want(r, status, body)
	check(parsed != nil && parsed.Detail != nil && *parsed.Detail != "" && *parsed.Status == int64(status), operation+": the problem says nothing", string(body))
}

func to[T any](value T) *T { return &value }

// service asks for what the service is and does.
func (c *client) service() {
	s := must(c.GetStatusWithResponse(c.ctx))
	status := answer("get-status", s.HTTPResponse, s.Body, s.JSON200)
	check(status.Ready && len(*status.Targets) == 1 && (*status.Targets)[0].State == TargetStatusState("ok"), "status", status)
	t := must(c.ListTargetsWithResponse(c.ctx))
	targets := answer("list-targets", t.HTTPResponse, t.Body, t.JSON200)
	check((*targets.Targets)[0].Name == "profiles" && len(*(*targets.Targets)[0].Statements) > 0, "targets", targets)
	f := must(c.ListFindingsWithResponse(c.ctx))
	answer("list-findings", f.HTTPResponse, f.Body, f.JSON200)
	r := must(c.ReloadConfigurationWithResponse(c.ctx))
	check(answer("reload-configuration", r.HTTPResponse, r.Body, r.JSON200).Configuration != "", "reload", r.JSON200)
}

// samples tries one, and sends it.
func (c *client) samples() {
	sample := SampleRequest{Source: "clerk", Event: "user.created", DryRun: to(true)}
	tried := must(c.TrySampleWithResponse(c.ctx, sample))
	t := answer("try-sample", tried.HTTPResponse, tried.Body, tried.JSON200)
	check(!t.Sent && len(*t.Changes) == 1, "a tried sample", t)
	sample.DryRun = nil
	for range 2 { // with one key: once
		tried = must(c.TrySampleWithResponse(c.ctx, sample, once("sample")))
		t = answer("try-sample", tried.HTTPResponse, tried.Body, tried.JSON200)
		check(t.Sent && t.Outcome == "applied", "a sent sample", t)
	}
	sample.Event = "user.danced"
	tried = must(c.TrySampleWithResponse(c.ctx, sample))
	problem("try-sample", tried.HTTPResponse, tried.Body, 422, tried.ApplicationproblemJSON422)
}

// history reads all pages of events, and replays one.
func (c *client) history() {
	params := &ListEventsParams{Source: to("clerk"), Limit: to(int64(2))}
	var events []HistoryEvent
	for {
		list := must(c.ListEventsWithResponse(c.ctx, params))
		page := answer("list-events", list.HTTPResponse, list.Body, list.JSON200)
		events = append(events, *page.Events...)
		if page.Next == nil {
			break
		}
		check(len(*page.Events) == 2, "a page", page)
		params.After = page.Next
	}
	seen := map[string]bool{}
	for _, e := range events {
		seen[e.Id] = true
	}
	check(len(events) == 6 && len(seen) == 6, "all pages", events)
	list := must(c.ListEventsWithResponse(c.ctx, &ListEventsParams{After: to("no cursor")}))
	problem("list-events", list.HTTPResponse, list.Body, 422, list.ApplicationproblemJSONDefault)

	id := events[len(events)-1].Id
	e := must(c.GetEventWithResponse(c.ctx, "clerk", id, &GetEventParams{Reveal: to(true)}))
	body := answer("get-event", e.HTTPResponse, e.Body, e.JSON200)
	check(body.Revealed && body.Body != nil, "an event with its body", body)
	e = must(c.GetEventWithResponse(c.ctx, "clerk", "msg_none", nil))
	problem("get-event", e.HTTPResponse, e.Body, 404, e.ApplicationproblemJSON404)
	f := must(c.ForeseeReplayWithResponse(c.ctx, "clerk", id))
	check(len(*answer("foresee-replay", f.HTTPResponse, f.Body, f.JSON200).Events) == 1, "what a replay would do", f.JSON200)
	f = must(c.ForeseeReplayWithResponse(c.ctx, "clerk", "msg_none"))
	problem("foresee-replay", f.HTTPResponse, f.Body, 404, f.ApplicationproblemJSON404)
	r := must(c.ReplayEventWithResponse(c.ctx, "clerk", id))
	check(answer("replay-event", r.HTTPResponse, r.Body, r.JSON200).Became == "duplicate", "a replay", r.JSON200)
	r = must(c.ReplayEventWithResponse(c.ctx, "clerk", "msg_none"))
	problem("replay-event", r.HTTPResponse, r.Body, 404, r.ApplicationproblemJSON404)
	all := must(c.ForeseeReplayOfEventsWithResponse(c.ctx, &ForeseeReplayOfEventsParams{Since: to(time.Now().Add(-time.Hour)), Type: to("user.created")}))
	choice := answer("foresee-replay-of-events", all.HTTPResponse, all.Body, all.JSON200)
	check(choice.Events == 6 && choice.Tried == 6, "a choice", choice)
}

// people finds users, settles and erases one.
func (c *client) people() {
	found := must(c.FindUsersWithResponse(c.ctx, &FindUsersParams{Who: "user_1"}))
	users := answer("find-users", found.HTTPResponse, found.Body, found.JSON200)
	check(len(*users.Users) == 1 && len(*(*users.Users)[0].Rows) == 1, "users", users)
	found = must(c.FindUsersWithResponse(c.ctx, &FindUsersParams{}))
	problem("find-users", found.HTTPResponse, found.Body, 422, found.ApplicationproblemJSONDefault)
	s := must(c.SettleUserWithResponse(c.ctx, "clerk", "user_1"))
	check(answer("settle-user", s.HTTPResponse, s.Body, s.JSON200).Outcome == "applied", "settled", s.JSON200)
	e := must(c.EraseUserWithResponse(c.ctx, "clerk", "user_1", ErasureBody{}))
	problem("erase-user", e.HTTPResponse, e.Body, 409, e.ApplicationproblemJSON409)
	e = must(c.EraseUserWithResponse(c.ctx, "clerk", "nobody", ErasureBody{}))
	problem("erase-user", e.HTTPResponse, e.Body, 404, e.ApplicationproblemJSON404)
	e = must(c.EraseUserWithResponse(c.ctx, "clerk", "user_1", ErasureBody{Living: to(true)}))
	check(!answer("erase-user", e.HTTPResponse, e.Body, e.JSON200).ErasedAt.IsZero(), "an erasure", e.JSON200)
}

// refused looks at what the target refuses.
func (c *client) refused() {
	p := must(c.ListParkedWithResponse(c.ctx, &ListParkedParams{Target: to("profiles")}))
	parked := answer("list-parked", p.HTTPResponse, p.Body, p.JSON200)
	check(len(*parked.Groups) == 1 && (*parked.Groups)[0].Id == "user_bad", "parked", parked)
	g := must(c.GiveUpParkedWithResponse(c.ctx, GiveUpParkedRequest{Target: "profiles", Ids: to([]string{"user_bad"})}))
	check(answer("give-up-parked", g.HTTPResponse, g.Body, g.JSON200).Rows == 1, "given up", g.JSON200)
	n := must(c.ListNotificationsWithResponse(c.ctx, &ListNotificationsParams{Limit: to(int64(1))}))
	check(len(*answer("list-notifications", n.HTTPResponse, n.Body, n.JSON200).Notifications) == 0, "notifications", n.JSON200)
	r := must(c.RetryNotificationsWithResponse(c.ctx, RetryNotificationsRequest{}))
	check(answer("retry-notifications", r.HTTPResponse, r.Body, r.JSON200).Retried == 0, "retried", r.JSON200)
	g = must(c.GiveUpParkedWithResponse(c.ctx, GiveUpParkedRequest{Target: "none"}))
	problem("give-up-parked", g.HTTPResponse, g.Body, 422, g.ApplicationproblemJSON422)
}

// work begins tasks, follows one to its end, and stops one.
func (c *client) work() {
	var ids []int64
	for _, r := range []TaskRequest{
		{Kind: "check"}, {Kind: "backfill", Subject: to("profiles")}, {Kind: "retry", Subject: to("profiles"), Ids: to([]string{"user_bad"})},
		{Kind: "replay", Events: &EventChoice{Since: to(time.Now().Add(-time.Hour))}},
	} {
		for range 2 { // with one key: once
			b := must(c.BeginTaskWithResponse(c.ctx, r, once("begin "+string(r.Kind))))
			task := answer("begin-task", b.HTTPResponse, b.Body, b.JSON202)
			if len(ids) == 0 || ids[len(ids)-1] != task.Id {
				ids = append(ids, task.Id)
			}
		}
	}
	check(len(ids) == 4, "tasks that have begun", ids)
	for _, id := range ids {
		task := c.ended(id)
		check(task.State == "succeeded" && task.RequestedBy == "alice" && task.Result != nil, "a task", task)
	}
	again := must(c.BeginTaskWithResponse(c.ctx, TaskRequest{Kind: "backfill", Subject: to("none")}))
	problem("begin-task", again.HTTPResponse, again.Body, 422, again.ApplicationproblemJSON422)

	b := must(c.BeginTaskWithResponse(c.ctx, TaskRequest{Kind: "check"}))
	s := must(c.StopTaskWithResponse(c.ctx, b.JSON202.Id))
	check(answer("stop-task", s.HTTPResponse, s.Body, s.JSON200).Id == b.JSON202.Id, "a stopped task", s.JSON200)
	state := c.ended(b.JSON202.Id).State
	check(state == "stopped" || state == "succeeded", "its end", state)
	s = must(c.StopTaskWithResponse(c.ctx, 99))
	problem("stop-task", s.HTTPResponse, s.Body, 404, s.ApplicationproblemJSON404)
	g := must(c.GetTaskWithResponse(c.ctx, 99))
	problem("get-task", g.HTTPResponse, g.Body, 404, g.ApplicationproblemJSON404)

	params, listed := &ListTasksParams{Limit: to(int64(2))}, 0
	for {
		l := must(c.ListTasksWithResponse(c.ctx, params))
		page := answer("list-tasks", l.HTTPResponse, l.Body, l.JSON200)
		listed += len(*page.Tasks)
		if page.Next == nil {
			break
		}
		params.Before = page.Next
	}
	check(listed == 5, "all pages of tasks", listed)
}

func (c *client) ended(id int64) *TasksTask {
	for {
		g := must(c.GetTaskWithResponse(c.ctx, id))
		task := answer("get-task", g.HTTPResponse, g.Body, g.JSON200)
		if task.EndedAt != nil {
			return task
		}
		time.Sleep(50 * time.Millisecond)
	}
}
