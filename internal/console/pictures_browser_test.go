//go:build browser

package console_test

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"rollcall/internal/must"
)

// The pictures of docs/console.md are made by
//
//	ROLLCALL_SCREENSHOTS=$PWD/docs go test -tags browser ./internal/console -run TestPictures
func TestPictures(t *testing.T) {
	s, _ := acting(t)
	for i, name := range []string{"Grace Hopper", "Edsger Dijkstra", "Barbara Liskov"} {
		id := []string{"user_2grace", "user_2edsger", "user_2barbara"}[i]
		s.send("user.created", set("data.id", id), set("data.first_name", name), set("data.email_addresses[0].email_address", id+"@example.com"))
	}
	s.send("user.updated", set("data.id", "user_2grace"), set("data.email_addresses[0].email_address", "user_2edsger@example.com"))
	s.disturb()
	b := s.open(t)
	b.size(1100, "light")
	b.signIn()
	if shots != "" {
		time.Sleep(time.Minute) // the curves have a value for each
		s.send("user.updated", set("data.id", "user_2barbara"), set("data.email_addresses[0].email_address", "user_2barbara@example.com"))
		time.Sleep(time.Minute)
	}
	for _, p := range []struct {
		name, path, says string
		height           int64
	}{
		{"console", "/", "live", 1080},
		{"console-event", "/events/clerk/msg_first", "What a replay would change", 760},
		{"console-user", "/users?who=" + ada, "differs", 720},
		{"console-parked", "/parked", "Give up all that profiles refuses", 660},
		{"console-try", "/try?event=clerk/user.created&user=48213&data.first_name=Zo%C3%AB", "Nothing has changed yet", 1140},
	} {
		b.to(p.path)
		b.sees(p.says)
		time.Sleep(3 * time.Second) // what is live has come
		must.Equal(t, b.violations(), []string{}, p.name)
		b.picture(p.name, p.height)
	}
	b.click("Send it")
	b.confirm()
	b.sees("It was applied")
	b.picture("console-sent", 640)
}

// picture keeps a picture of the top of the page.
func (b *browser) picture(name string, height int64) {
	b.t.Helper()
	b.run(chromedp.EmulateViewport(1100, height))
	if shots != "" {
		b.save(name, must.Get(chromedp.Run(b, chromedp.CaptureScreenshot()))(b.t))
	}
}
