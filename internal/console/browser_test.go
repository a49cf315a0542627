//go:build browser

package console_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"rollcall/internal/must"
)

// browser is a tab of headless Chromium.
type browser struct {
	context.Context
	t    *testing.T
	base string
}

// open opens a tab; what a page's script fails with, or writes as an error, fails the test.
func (s *served) open(t *testing.T) *browser {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Fatal("chromium is missing; install Debian's package chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.Flag("hide-scrollbars", true))
	allocated, stop := chromedp.NewExecAllocator(t.Context(), options...)
	ctx, closeTab := chromedp.NewContext(allocated)
	t.Cleanup(func() { closeTab(); stop() })
	b := &browser{ctx, t, s.admin}
	b.run(chromedp.Navigate("about:blank")) // starts the browser
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err == nil && (m.Type == chromedp.ConsoleException || m.Type == "error") && !strings.Contains(m.Text, "the server responded with a status of 4") {
				t.Errorf("the browser says %s: %s (%s:%d)", m.Type, m.Text, m.URL, m.Line)
			}
		}
	}()
	return b
}

// patience is how long something may take, which only a broken page needs.
const patience = time.Minute

// run does something in the tab.
func (b *browser) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	done := make(chan error, 1)
	go func() { done <- chromedp.Do(b, actions...) }()
	select {
	case err := <-done:
		must.Do(b.t, err)
	case <-time.After(patience):
		b.shot("stuck")
		b.t.Fatalf("the page does not do what it should; see %s", shots)
	}
}

// value is what an expression of JavaScript yields on the page.
func value[T any](b *browser, expression string) T {
	b.t.Helper()
	return must.Get(chromedp.Run(b, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise)))(b.t)
}

// to goes to a page.
func (b *browser) to(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.base+path), chromedp.WaitReady("main"))
}

// signIn signs in by keyboard.
func (b *browser) signIn() {
	b.t.Helper()
	b.to("/")
	b.run(chromedp.SendKeys("input[name=token]", token+"\r"), chromedp.WaitVisible("nav"))
}

// until waits until something holds on the page. While a page is loaded nothing does.
func (b *browser) until(expression string) {
	b.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		holds, err := chromedp.Run(b, chromedp.Evaluate[bool]("!!document.body && !!("+expression+")"))
		if err == nil && holds {
			return
		}
		if time.Now().After(end) {
			b.shot("stuck")
			b.t.Fatalf("%s does not hold (%v); the page has\n%s", expression, err, value[string](b, "document.body.innerText"))
		}
	}
}

// sees waits until the page has a text.
func (b *browser) sees(text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

// shots is where screenshots go: ROLLCALL_SCREENSHOTS, or nowhere that stays.
var shots = os.Getenv("ROLLCALL_SCREENSHOTS")

// shot keeps a picture of the page.
func (b *browser) shot(name string) {
	b.t.Helper()
	if shots == "" {
		return
	}
	b.save(name, must.Get(chromedp.Run(b, chromedp.FullScreenshot(100)))(b.t))
}

func (b *browser) save(name string, picture []byte) {
	b.t.Helper()
	must.Do(b.t, os.WriteFile(filepath.Join(shots, name+".png"), picture, 0o600))
}

// size sets the width of the window and the colour scheme.
func (b *browser) size(width int64, scheme string) {
	b.t.Helper()
	b.run(chromedp.EmulateViewport(width, 900))
	must.Get(chromedp.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}))(b.t)
}

// violations are what axe-core finds on the page.
func (b *browser) violations() []string {
	b.t.Helper()
	script, err := os.ReadFile("testdata/axe/node_modules/axe-core/axe.min.js")
	if err != nil {
		b.t.Fatal("axe-core is missing; run npm ci in internal/console/testdata/axe: ", err)
	}
	b.run(chromedp.Evaluate[chromedp.Void](string(script)))
	return value[[]string](b, "axe.run().then(r => r.violations.flatMap(v => v.nodes.map(n => v.id + ': ' + n.target + ' ' + n.failureSummary)))")
}

// pages are all that are reached by the menu, and some others.
var pages = []string{"/", "/events", "/users?who=user_noname", "/parked", "/targets", "/jobs", "/notifications?state=failed", "/confirm/check?back=/targets", "/nothing",
	"/events/clerk/msg_first", "/confirm/erase?source=clerk&id=user_noname&back=/users", "/try", "/try?event=clerk/user.created&user=48213",
	"/try?event=clerk/user.updated&user=48213&set=" + url.QueryEscape("data.first_name=null\ndata.last_name=null"), "/try?event=clerk/user.married"}

// nameOf is the name of a page's picture.
func nameOf(path string) string {
	path, _, _ = strings.Cut(path, "key=") // differs each time
	name := regexp.MustCompile("[^a-zA-Z0-9]+").ReplaceAllString(path, "_")
	return strings.Trim(name[:min(len(name), 60)], "_")
}

// Every page can be read with assistive technology, in both colour schemes and at all widths, and fits the window.
func TestPagesAreAccessible(t *testing.T) {
	s := serve(t)
	s.send("user.created")
	s.Exec("update rollcall.events set id = 'msg_first'")
	s.Exec("update profiles set name = 'someone else'")
	s.failToTell()
	s.send("user.created", set("data.id", "user_noname"), set("data.first_name", ""), set("data.last_name", ""), set("data.email_addresses[0].email_address", "x@example.com"))
	b := s.open(t)
	for _, scheme := range []string{"light", "dark"} {
		b.size(1280, scheme)
		b.to("/signin")
		b.shot("signin-" + scheme)
		must.Equal(t, b.violations(), []string{}, "signing in")
	}
	b.signIn()
	pages := slices.Clone(pages)
	b.to("/confirm/sample?source=clerk&event=user.created&user=48213")
	b.confirm()
	b.sees("It was applied")
	pages = append(pages, value[string](b, "location.pathname + location.search"))
	for _, path := range pages {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{390, 1280, 2560} {
				b.size(width, scheme)
				b.to(path)
				b.shot(fmt.Sprintf("%s-%d-%s", nameOf(path), width, scheme))
				must.Equal(t, b.violations(), []string{}, fmt.Sprint(path, " ", width, " ", scheme))
				over := value[int](b, "document.documentElement.scrollWidth - innerWidth")
				must.True(t, over <= 0, "%s is %d pixels wider than a window of %d", path, over, width)
			}
		}
	}
}

// press sends keys to what has the focus.
func (b *browser) press(keys string) {
	b.t.Helper()
	b.run(chromedp.KeyEvent(keys))
}

// follow moves the focus to a link or a button by its text, as the tabulator would, and presses enter.
func (b *browser) follow(text string) {
	b.t.Helper()
	for range 60 {
		b.press(kb.Tab)
		if value[string](b, "document.activeElement.textContent.trim()") == text {
			b.press(kb.Enter)
			return
		}
	}
	b.t.Fatalf("the tabulator does not reach %q", text)
}

// By keyboard alone an operator finds a user that a target refuses, sees why, and has them tried again.
func TestRepair(t *testing.T) {
	s := serve(t)
	s.send("user.created", set("data.id", "user_noname"), set("data.first_name", ""), set("data.last_name", ""))
	b := s.open(t)
	b.signIn()
	b.to("/parked")
	b.sees(`null value in column "name"`)
	b.follow("user_noname")
	b.sees("refused 1 times")
	s.Exec("alter table profiles alter name drop not null")
	b.to("/parked")
	b.follow("Try all that profiles refuses again")
	b.sees("Try all rows that profiles refuses again")
	b.follow("Try again")
	b.sees("Task 1 has begun.")
	b.follow("Go on")
	b.sees("Reconcile clerk")
	s.Await("select count(*) from profiles", "1")
	s.Await("select state from rollcall.tasks", "succeeded")
	b.to("/parked")
	b.sees("Nothing is parked")
	b.run(chromedp.Evaluate[chromedp.Void]("history.back()"))
	b.sees("retry profiles")
	b.sees("succeeded")
}

// Open pages follow what happens, until they are paused; a page says when it has lost the service.
func TestLivePages(t *testing.T) {
	s := serve(t)
	b := s.open(t)
	b.signIn()
	b.to("/events")
	b.sees("live")
	time.Sleep(3 * time.Second) // the first look has been: what comes now is new
	s.send("user.created")
	b.sees("user.created")
	b.follow("Pause")
	b.sees("paused")
	s.send("user.updated")
	time.Sleep(5 * time.Second)
	must.True(t, !value[bool](b, "document.body.innerText.includes('user.updated')"), "a page that is paused goes on")
	b.follow("Go on")
	b.sees("live")
	b.shot("events-live")

	b.run(chromedp.SendKeys("input[name=type]", "user.deleted\r"))
	b.sees("No event fits")
	b.until("location.search.includes('type=user.deleted')")
	b.run(chromedp.Evaluate[chromedp.Void]("history.back()"))
	b.sees("user.updated")
}
