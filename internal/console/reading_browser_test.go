//go:build browser

package console_test

import (
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"rollcall/internal/must"
)

// scripts has the tab run the scripts of pages, or none.
func (b *browser) scripts(disabled bool) {
	b.t.Helper()
	must.Get(chromedp.Call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: disabled}))(b.t)
}

// main is the text of a page, without the line that says whether it is live, without a body that is dated now, and
// without moments and numbers of jobs, which go on between two looks.
const main = `(() => { const copy = document.querySelector("main").cloneNode(true); copy.querySelectorAll(".live, details pre").forEach(e => e.remove());
	copy.querySelectorAll("time").forEach(e => e.textContent = "then");
	return copy.textContent.replace(/\s+/g, " ").replace(/\d+ jobs/, "jobs") + [...copy.querySelectorAll("a, form")].map(e => e.getAttribute("href") || e.getAttribute("action")).join(" ") })()`

// Every page says the same without JavaScript, and an action can be taken.
func TestWithoutScripts(t *testing.T) {
	s, _ := acting(t)
	s.Await("select count(*) > 0 from rollcall.receipts where source = 'clerk' and requests > 0", "t") // so that Now says so
	s.Exec("update rollcall.parked set retry_at = now() + interval '1 hour'")
	b := s.open(t)
	b.signIn()
	for _, path := range []string{"/", "/events", "/events/clerk/msg_first", "/users?who=" + ada, "/parked", "/targets", "/jobs", "/notifications",
		"/confirm/check?back=/targets", "/try", "/try?event=clerk/user.created&user=11"} {
		b.scripts(false)
		b.to(path)
		with := value[string](b, main)
		b.scripts(true)
		b.to(path)
		must.Equal(t, value[string](b, main), with, path)
		must.True(t, !value[bool](b, "!!document.querySelector('.live:not([hidden])')"), "%s seems to be live without a script", path)
	}
	b.click("Send it")
	b.sees("Send the sample user.created of clerk")
	b.confirm()
	b.sees("It was applied")
	must.Equal(t, s.noted("send sample"), "1|alice", "audit log")
	b.click("Delete it: user.deleted")
	b.sees("profiles: delete")
	b.click("Send it")
	b.confirm()
	b.sees("It was applied")
	s.Want("select count(*) from profiles where id = $$"+ada+"_11$$", "0")
}

// A link to any page leads there, also by way of signing in; back and reload do nothing but show pages.
func TestDeepLinks(t *testing.T) {
	s, _ := acting(t)
	for _, link := range []struct{ path, says string }{
		{"/events?type=user.deleted&source=clerk", "user_gone"},
		{"/events/clerk/msg_first", "What a replay would change"},
		{"/users?who=user_noname", `null value in column "name"`},
		{"/targets#profiles", "public.profiles"},
		{"/try?event=clerk/user.created&user=11&data.first_name=Zo%C3%AB", "Zoë Example"},
	} {
		b := s.open(t)
		b.to(link.path)
		b.run(chromedp.SendKeys("input[name=token]", token+kb.Enter))
		b.sees(link.says)
	}
	b := s.open(t)
	b.signIn()
	b.to("/try")
	b.run(chromedp.Click(`main form button`))
	b.sees("Nothing has changed yet")
	b.until("location.search.includes('event=clerk%2Fuser.created')")
	b.run(chromedp.SendKeys(`input[name="data.last_name"]`, kb.End+"-Quist"+kb.Enter))
	b.sees("Ada Example-Quist")
	first := value[string](b, "location.search")
	b.run(chromedp.Evaluate[chromedp.Void]("history.back()"))
	b.until("!document.body.innerText.includes('Example-Quist')")
	b.run(chromedp.Evaluate[chromedp.Void]("history.forward()"))
	b.sees("Ada Example-Quist")
	must.Equal(t, value[string](b, "location.search"), first, "the address of the same sample")
	b.click("Send it")
	b.confirm()
	b.sees("It was applied")
	for range 3 { // to the question, the difference, and the form before
		b.run(chromedp.Evaluate[chromedp.Void]("history.back()"))
	}
	b.sees("Nothing has changed yet")
	must.Equal(t, s.noted("send sample"), "1|alice", "audit log")
	s.Want("select name from profiles where name like '%Quist'", "Ada Example-Quist")
}
