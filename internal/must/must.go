// Package must ends a test at an error that it does not expect, and checks those that it does.
//
//	db := must.Get(postgres.Open(cfg))(t)
//	must.Do(t, db.Roll().Follow(t.Context(), "supabase", "auth.users"))
//	must.Fail(t, must.Err(db.Users(t.Context(), "supabase", "auth.users")), postgres.ErrUnseen, "grant select")
//	must.Equal(t, len(users), 3, "users")
package must

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/testtag"
)

// Do ends the test if there is an error.
func Do(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Get passes a value on, unless it comes with an error.
func Get[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		Do(t, err)
		return value
	}
}

// Err is the error that comes with a value.
func Err[T any](_ T, err error) error { return err }

// True wants a condition to hold, and otherwise says what is wrong.
func True(t testing.TB, holds bool, format string, args ...any) {
	t.Helper()
	if !holds {
		t.Errorf(format, args...)
	}
}

// Equal wants two values to be the same; what says what they are, as fmt.Sprint does.
func Equal[T any](t testing.TB, got, want T, what ...any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", fmt.Sprint(what...), diff)
	}
}

// Table wants a function to return, for each argument, the value beside it.
func Table[In comparable, Out any](t testing.TB, of func(In) Out, rows map[In]Out) {
	t.Helper()
	for in, want := range rows {
		Equal(t, of(in), want, fmt.Sprintf("%.90v", in))
	}
}

// Contain wants a text to hold each of some words.
func Contain(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in %q", w, text)
		}
	}
}

// Lack wants a text to hold none of some words.
func Lack(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if strings.Contains(text, w) {
			t.Errorf("%q is in %q", w, text)
		}
	}
}

// Fail wants an error that wraps another one, any if that is nil, and says some words.
func Fail(t testing.TB, err, is error, words ...string) {
	t.Helper()
	if err == nil || is != nil && !errors.Is(err, is) {
		t.Errorf("the error is %v, want %v %q", err, is, words)
		return
	}
	Contain(t, err.Error(), words...)
}

// Within wants what began at a moment to have taken no longer than a limit; without the tag timing it
// wants nothing.
func Within(t testing.TB, began time.Time, limit time.Duration, what string) {
	t.Helper()
	if took := time.Since(began); testtag.Timing && took > limit {
		t.Errorf("%s took %s, more than %s", what, took, limit)
	}
}

// Sentence wants an error that matches a pattern and can be shown to an operator: one line, without a
// secret of the tests and without the driver's words.
func Sentence(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
		t.Errorf("got error %v\nwant one that matches %s", err, want)
		return
	}
	Lack(t, err.Error(), "\n", "hunt", "secret", "SQLSTATE", "failed to connect")
}

// patience is how long Await waits at most; only a failing test needs that long.
const patience = 30 * time.Second

// Await waits until something holds, and ends the test if it takes too long; the end shows a log, or
// what else says why.
func Await(t testing.TB, what string, holds func() bool, shown ...any) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s\n%s", what, patience, fmt.Sprint(shown...))
		}
	}
}
