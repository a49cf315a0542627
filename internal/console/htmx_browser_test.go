//go:build browser

package console_test

import (
	"os"
	"testing"
	"time"

	"rollcall/internal/must"
)

// The copy of htmx is npm's.
func TestHTMXIsNPMs(t *testing.T) {
	t.Parallel()
	original, err := os.ReadFile("testdata/axe/node_modules/htmx.org/dist/htmx.min.js")
	if err != nil {
		t.Fatal("htmx is missing; run npm ci in internal/console/testdata/axe: ", err)
	}
	must.True(t, string(original) == string(must.Get(os.ReadFile("static/htmx.min.js"))(t)), "static/htmx.min.js is not that of the lock file")
}

// A filter and the next page of a list replace a part of the page; the address follows, and the back button leads to
// what was there. What is live goes on.
func TestPartsOfPages(t *testing.T) {
	s := serve(t)
	s.Exec(`insert into rollcall.events (source, id, type, received_at) select 'clerk', 'msg_' || n, case when n % 2 = 0 then 'user.created' else 'user.updated' end,
		now() - n * interval '1 second' from generate_series(1, 240) n`)
	b := s.open(t)
	b.signIn()
	b.to("/events")
	b.sees("msg_1")
	const page = "window.marker === 1 && location.pathname + location.search"
	must.Equal(t, value[int](b, "window.marker = 1"), 1, "a mark on the page")

	must.Equal(t, value[string](b, `(document.querySelector("[name=type]").value = "user.created")`), "user.created", "the filter")
	must.True(t, value[bool](b, `(document.querySelector("form.filter button").click(), true)`), "the form is sent")
	b.until(page + ` === "/events?source=&outcome=&type=user.created&user=&since=&until="`)
	b.until(`!document.body.innerText.includes("user.updated")`)
	must.Equal(t, value[int](b, `document.querySelectorAll("main").length`), 1, "main parts")
	b.until(`document.querySelector("[data-live-state]").textContent === "live"`)
	time.Sleep(3 * time.Second) // the first look has been: what comes now is new
	s.send("user.created")
	b.until(`document.querySelectorAll("tbody tr").length === 51`)

	b.click("Older events")
	b.until(page + `.includes("&after=")`)
	b.sees("msg_102")
	b.until(`!document.body.innerText.includes("msg_100")`)
	b.click("Older events")
	b.sees("msg_240")

	must.True(t, value[bool](b, "(history.back(), true)"), "back")
	b.sees("msg_102")
	b.until(`!document.body.innerText.includes("msg_240")`)
	must.True(t, value[bool](b, "(history.back(), true)"), "back")
	b.sees("msg_98")
	b.until(`document.querySelector("[name=type]").value === "user.created"`)
	must.True(t, value[bool](b, "(history.back(), true)"), "back")
	b.sees("user.updated")

	b.to("/users")
	must.Equal(t, value[int](b, "window.marker = 1"), 1, "a mark on the page")
	must.Equal(t, value[string](b, `(document.querySelector("[name=who]").value = "nobody")`), "nobody", "the search")
	must.True(t, value[bool](b, `(document.querySelector("form.filter button").click(), true)`), "the form is sent")
	b.sees("no user with the id or the e-mail nobody")
	must.Equal(t, value[string](b, page), "/users?who=nobody", "the address")
}
