//go:build browser

package console_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"rollcall/internal/clerktest"
	"rollcall/internal/must"
)

// act is an action as an operator takes it.
type act struct {
	name string // in rollcall.audit_log
	page string // that offers it
	// before is what the page says beforehand, such as the difference.
	before   []string
	link     string // on the page
	question string
	button   string
	says     string // the page after it
	then     string // and the page that it leads to; "" where it leads to none
	// effect is a query, and what it yields after the action was taken once.
	effect, once string
}

const ada = "user_2RollcallSampleAda0000000000"

// acts are all actions, in an order in which each finds something to do in the service of act.
var acts = []act{
	{
		"give up", "/parked", []string{`null value in column "name"`}, "Give up all that profiles refuses",
		"Give up all rows that profiles refuses?", "Give up", "Rows given up: 1.", "none: all are given up",
		"select given_up from rollcall.parked", "t",
	},
	{
		"retry", "/parked", []string{"none: all are given up"}, "Try all that profiles refuses again",
		"Try all rows that profiles refuses again", "Try again", " has begun.", "retry profiles", "select attempts > 0 and not given_up from rollcall.parked", "t",
	},
	{
		"retry notifications", "/notifications", []string{"status 500", "pending"}, "Send what has failed of welcome again",
		"Send each notification of welcome that has failed again", "Send again", "Notifications due again: 1.", "pending",
		"select state, attempts from rollcall.notifications", "pending|0",
	},
	{
		"replay", "/events/clerk/msg_first", []string{"What a replay would change", "update " + ada, "s…", "A…"}, "Replay",
		"Replay event msg_first of clerk?", "Replay", "The event was replayed: duplicate", "msg_first",
		"select name from profiles", "Ada Example",
	},
	{
		"settle", "/users?who=" + ada, []string{"differs"}, "Settle", "in step with the roll?", "Settle", "The user was settled: applied.", "present",
		"select name from profiles", "Ada Example",
	},
	{
		"check", "/targets", nil, "Check all", "Compare every row", "Check the targets", " has begun.", "check",
		"select count(*), min(state) from rollcall.tasks where kind = 'check'", "1|succeeded",
	},
	{
		"backfill", "/targets", nil, "Backfill", "Write every row of the roll to the target profiles?", "Backfill", " has begun.", "backfill profiles",
		"select count(*), min(state) from rollcall.tasks where kind = 'backfill'", "1|succeeded",
	},
	{
		"reconcile", "/jobs", nil, "Reconcile clerk", "Compare the roll with all users of clerk", "Reconcile", " has begun.", "reconcile clerk",
		"select count(*), min(state) from rollcall.tasks where kind = 'reconcile'", "1|succeeded",
	},
	{
		"reload", "/", nil, "Reload the configuration", "Read the configuration file", "Reload the configuration", "The configuration is reloaded: 0 targets added", "Service",
		"select count(*) from rollcall.replicas where reloaded_at is not null", "1",
	},
	{
		"send sample", "/try?event=clerk/user.created&user=11", []string{"Nothing has changed yet", "profiles: insert", "Ada Example"}, "Send it",
		"Send the sample user.created of clerk", "Send the sample", "It was applied", "What it would change",
		"select count(*) from rollcall.events where user_id = '" + ada + "_11'", "1",
	},
	{
		"erase", "/users?who=user_gone", []string{"deleted"}, "Erase", "This can't be undone", "Erase", "The user is erased", "is no longer taken",
		"select count(*) from rollcall.users where erased_at is not null", "1",
	},
}

// acting is a service in which every action finds something to do.
func acting(t *testing.T) (*served, *clerktest.Clerk) {
	t.Helper()
	clerk := clerktest.New(t)
	clerk.Put(clerktest.User{ID: ada, FirstName: "Ada", LastName: "Example", Email: "ada@example.com"})
	s := serve(t, "    provider: clerk\n", fmt.Sprintf("    provider: clerk\n    api: {key: %s, url: %q}\n", clerk.Key(), clerk.URL()))
	s.send("user.created")
	s.Exec("update rollcall.events set id = 'msg_first'")
	s.send("user.created", set("data.id", "user_noname"), set("data.first_name", ""), set("data.last_name", ""), set("data.email_addresses[0].email_address", "no@example.com"))
	s.send("user.created", set("data.id", "user_gone"), set("data.email_addresses[0].email_address", "gone@example.com"))
	s.send("user.deleted", set("data.id", "user_gone"))
	s.failToTell()
	return s, clerk
}

// failToTell has a notification fail.
func (s *served) failToTell() {
	s.Exec(`insert into rollcall.transitions (type, source, row_id) values ('appeared', 'clerk', 'user_gone');
		insert into rollcall.notifications (name, transition, noted_at, state, attempts, error) select 'welcome', id, at, 'failed', 8, 'status 500' from rollcall.transitions`)
}

// disturb puts what an action repairs out of step again.
func (s *served) disturb() { s.Exec("update profiles set name = 'someone else' where id = $1", ada) }

// noted is how often an action is in the audit log, and whose it is.
func (s *served) noted(name string) string {
	s.T.Helper()
	return strings.Join(s.Rows("select count(*), min(who) from rollcall.audit_log where action = '"+name+"'"), "")
}

// Every action shows what it is about, asks once, is taken once however often its button is pressed, says what it has
// done, and is in the audit log with the name of who has taken it.
func TestActions(t *testing.T) {
	s, _ := acting(t)
	b := s.open(t)
	b.signIn()
	for _, a := range acts {
		s.disturb()
		b.to(a.page)
		for _, text := range a.before {
			b.sees(text)
		}
		b.click(a.link)
		b.sees(a.question)
		must.Equal(t, s.noted(a.name), "0|∅", a.name+" before it is confirmed")
		// Two requests at once, then a double click: as many forms as an impatient hand can send.
		statuses := value[[]int](b, `Promise.all([1, 2].map(() => fetch(document.querySelector("main form").action,
			{method: "POST", body: new URLSearchParams(new FormData(document.querySelector("main form")))}).then(r => r.status)))`)
		must.Equal(t, statuses, []int{200, 200}, a.name+" twice at once")
		b.clickTwice("main form button")
		b.sees(a.says)
		s.Await(a.effect, a.once)
		must.Equal(t, s.noted(a.name), "1|alice", a.name)
		b.follows(a)
	}
}

// follows goes on from the page that says what an action has done, and back.
func (b *browser) follows(a act) {
	b.t.Helper()
	done := value[string](b, "location.pathname")
	b.run(chromedp.Evaluate[chromedp.Void]("location.reload()"))
	b.sees(a.says)
	if a.name != "send sample" { // its own page has it all
		b.click("Go on")
		b.sees(a.then)
		b.run(chromedp.Evaluate[chromedp.Void]("history.back()"))
		b.until(fmt.Sprintf("location.pathname === %q", done))
	}
	b.run(chromedp.Evaluate[chromedp.Void]("history.back()"))
	b.sees(a.question)
}

// click clicks a link by its text, once it is there. (Of a page that the browser had kept, chromedp finds no nodes.)
func (b *browser) click(text string) {
	b.t.Helper()
	link := fmt.Sprintf("[...document.querySelectorAll('main a')].find(a => a.textContent.trim() === %q)", text)
	b.until(link)
	b.run(chromedp.Evaluate[chromedp.Void](link + ".click()"))
}

// confirm answers the question of an action.
func (b *browser) confirm() {
	b.t.Helper()
	const button = "document.querySelector('main form[action^=\"/do/\"] button')"
	b.until(button)
	b.run(chromedp.Evaluate[chromedp.Void](button + ".click()"))
}

// clickTwice clicks a button twice before the browser has an answer to the first click.
func (b *browser) clickTwice(selector string) {
	b.t.Helper()
	b.run(chromedp.Evaluate[chromedp.Void](fmt.Sprintf("{ const button = document.querySelector(%q); button.click(); button.click(); }", selector)))
}

// With the keyboard alone every action can be taken: the button that takes it is the next after the question. Enter
// that is held down on the link does not take it, and on the button takes it once.
func TestActionsByKeyboard(t *testing.T) {
	s, _ := acting(t)
	b := s.open(t)
	b.signIn()
	for _, a := range acts {
		s.disturb()
		b.to(a.page)
		b.follow(a.link)
		b.sees(a.question)
		must.Equal(t, s.noted(a.name), "0|∅", a.name+" before it is confirmed")
		b.press(kb.Enter)
		b.press(kb.Tab)
		must.Equal(t, value[string](b, "document.activeElement.textContent"), a.button, "what has the focus")
		b.run(chromedp.KeyEvent(kb.Enter), chromedp.KeyEvent(kb.Enter))
		b.sees(a.says)
		s.Await(a.effect, a.once)
		must.Equal(t, s.noted(a.name), "1|alice", a.name)
	}
}

// A task that is under way can be stopped from the page that shows it.
func TestStopTask(t *testing.T) {
	s, clerk := acting(t)
	clerk.SetDelay(time.Minute)
	b := s.open(t)
	b.signIn()
	b.to("/confirm/reconcile?subject=clerk&back=/jobs")
	b.confirm()
	b.sees(" has begun.")
	s.Await("select state from rollcall.tasks", "running")
	b.to("/jobs")
	b.click("Stop")
	b.sees("Stop task 1?")
	b.clickTwice("main form button")
	b.sees("it is told to stop")
	must.Equal(t, s.noted("stop"), "1|alice", "stop")
	clerk.SetDelay(0)
	b.click("Go on")
	b.sees("stopped")
}
