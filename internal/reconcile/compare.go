package reconcile

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/target"
)

// Verdict is what a comparison says about one row. The database's have the same words.
type Verdict string

// The verdicts.
const (
	// Same: nothing is to be done.
	Same Verdict = "same"
	// Create: the provider has a user that the roll does not know.
	Create Verdict = directory.Created
	// Update: the provider's user differs, and the roll has no newer version.
	Update Verdict = directory.Updated
	// Touch: as Update, but only the moment of a change or of a sign-in differs.
	Touch Verdict = directory.Touched
	// Vanished: the roll has a living user that the provider has no more.
	Vanished Verdict = directory.Deleted
	// Final: the provider has a user whose deletion the roll knows; a deletion is final.
	Final Verdict = "final"
	// Newer: they differ, and the roll has the higher version.
	Newer Verdict = "newer"
	// Forgotten: both know no living user.
	Forgotten Verdict = "forgotten"
)

// judge compares a row as the provider has it with a roll; nil for absent.
func judge(roll *event.Roll, theirs, ours event.Record) Verdict {
	here, there := ours != nil && !ours.Head().Dead(), theirs != nil && !theirs.Head().Dead()
	switch {
	case !here && !there:
		return Forgotten
	case !there:
		return Vanished
	case ours == nil || !here && life(theirs) > life(ours):
		return Create
	case !here:
		return Final
	}
	differ := differences(roll, theirs, ours)
	switch {
	case len(differ) == 0:
		return Same
	case life(ours) > life(theirs), life(ours) == life(theirs) && ours.Head().Version > theirs.Head().Version:
		return Newer
	case slices.ContainsFunc(differ, func(d Difference) bool { return !touched(roll, d.Column) }):
		return Update
	}
	return Touch
}

// touched reports whether a column changes with a sign-in or a token refresh, which says nothing
// else about a user. So does the version.
func touched(roll *event.Roll, column string) bool {
	f := roll.Field(column)
	return f != nil && f.Touched || column == "version"
}

// Difference is one column of the record new that is not the same on both sides. Values
// that tell who a person is are masked.
type Difference struct {
	Column string `json:"column"`
	Roll   string `json:"roll"`
	Theirs string `json:"provider"`
}

// masked are the differences that the database has found, with personal data masked.
func masked(found []directory.Difference) []Difference {
	var list []Difference
	for _, d := range found {
		if f := event.Users.Field(d.Column); f != nil && f.Masked && f.Type != event.JSON { // of JSON it is the size
			d.Roll, d.Theirs = maskedValue(d.Roll), maskedValue(d.Theirs)
		}
		list = append(list, Difference(d))
	}
	return list
}

func maskedValue(value string) string {
	if value == "null" {
		return value
	}
	return event.Mask(value)
}

// differences lists the columns in which two living rows differ. What the provider says nothing of
// that can be used is not compared; the version follows from updated_at.
func differences(roll *event.Roll, theirs, ours event.Record) []Difference {
	var list []Difference
	add := func(column string, masked bool, a, b any) {
		if a != b && !sameDocument(a, b) {
			list = append(list, Difference{column, shown(b, masked), shown(a, masked)})
		}
	}
	kept := theirs.Head().Kept
	if !slices.Contains(kept, "updated_at") {
		add("version", false, time.UnixMicro(theirs.Head().Version).UTC(), time.UnixMicro(ours.Head().Version).UTC())
	}
	for i := range roll.Fields {
		if f := &roll.Fields[i]; !slices.Contains(kept, f.Name) {
			add(f.Name, f.Masked, f.Value(theirs), f.Value(ours))
		}
	}
	add("kept", false, strings.Join(kept, " "), strings.Join(ours.Head().Kept, " "))
	return list
}

// sameDocument compares JSON by its meaning.
func sameDocument(a, b any) bool {
	x, one := a.(event.Document)
	y, two := b.(event.Document)
	if !one || !two {
		return false
	}
	var left, right any
	return decode(string(x), &left) && decode(string(y), &right) && reflect.DeepEqual(left, right)
}

func decode(text string, into *any) bool {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber() // a float would call different numbers equal
	return d.Decode(into) == nil
}

// shown is a value for people.
func shown(value any, masked bool) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case event.Document:
		return strconv.Itoa(len(v)) + " bytes"
	case string:
		if masked {
			return event.Mask(v)
		}
		return v
	case bool:
		return strconv.FormatBool(v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	}
	return ""
}

// advice says why the roll can't follow the provider about a row, and what to do.
func (r *run) advice(verdict Verdict, p directory.Pair) string {
	if verdict == Final {
		return fmt.Sprintf("the roll has this %[1]s as deleted, and a deletion is final; "+
			"create the %[1]s again at the provider, with a new id", r.kind.One)
	}
	version := time.UnixMicro(p.Roll.Head().Version).UTC()
	at := version.Format(time.RFC3339Nano)
	why := "the roll has a higher version, " + at
	then := "rollcall reconcile " + r.Source.Name()
	if version.After(time.Now()) {
		return fmt.Sprintf("%s, which is in the future; "+
			"run delete from %s where source = %s and id = %s; then %s",
			why, r.kind.Table, target.Literal(r.Source.Name()), target.Literal(p.ID), then)
	}
	return why + "; change the " + r.kind.One + " at Clerk, which sets updated_at, and run " + then
}
