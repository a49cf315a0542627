package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// State is how a target has a user.
type State string

// The states. A user who is gone, with no row left, has none.
const (
	Present   State = "present"   // the row is as the roll says
	Missing   State = "missing"   // there is no row
	Adoptable State = "adoptable" // there is no row but one without a key, which the user may take over
	Extra     State = "extra"     // the user is gone and the row is not; or a row is no user's
	Different State = "different" // the row is not as the roll says, or that can not be computed
	Parked    State = "parked"    // the target does not follow the user for the moment
	// Suppressed: a trigger of the application keeps the row from being written or removed.
	Suppressed State = "suppressed"
	// Rewritten: a trigger of the application gives a column of set another value.
	Rewritten State = "rewritten"
)

// States are all states, in the order of tables.
var States = []State{Present, Missing, Adoptable, Extra, Different, Parked, Suppressed, Rewritten}

// Options say what is done besides counting.
type Options struct {
	// Repair settles the users who are out of step; they are counted as they are then.
	Repair bool
	// Progress is told how many users of the roll have been looked at, of how many, again
	// from the start when Repair walks once more; may be nil.
	Progress func(done, total int64)
	// Rows has Users and Members show each row beside what it should be, Reveal without masking what tells who a
	// person is.
	Rows, Reveal bool
}

// Report is the users of the roll, counted for every target that follows them.
type Report struct {
	// Tallies are in the order of the configuration: targets, and the sources of each.
	Tallies []Tally `json:"targets"`
	// Refused are users whose expressions can't be computed and who are not parked yet:
	// the first few of those counted as different.
	Refused []Refused `json:"refused,omitempty"`
	// Examples are the first few users who are out of step and not parked, of each target.
	Examples []Example `json:"examples,omitempty"`
	// Parked says why users are parked, the largest groups first.
	Parked []ParkedGroup `json:"parked,omitempty"`
	// Overruled are users who are Suppressed or Rewritten, by target and state. No repair changes
	// that.
	Overruled []Overruled `json:"overruled,omitempty"`
	// CheckedAt is when the count ended.
	CheckedAt time.Time `json:"checked_at"`
}

// Tally counts the users of one source for one target.
type Tally struct {
	Target string
	// Source is empty for rows that are no user's, of a target of several sources.
	Source string
	// Users has every state. While the target is out of service only Parked is known.
	Users map[State]int64
	// Unowned are those of Extra that are rows of no user of the roll. Repair leaves them
	// alone: they may be the application's own.
	Unowned int64
	// Repaired are users who were out of step before Repair and are not any more.
	Repaired int64
	// Outage is why the target can't be counted; empty when it was.
	Outage string
}

// Example is a user who is out of step.
type Example struct {
	Target string `json:"target"`
	Source string `json:"source"`
	ID     string `json:"id"`
	State  State  `json:"state"`
}

// Refused is a user whose expressions in a target can't be computed.
type Refused struct {
	Target string `json:"target"`
	Source string `json:"source"`
	ID     string `json:"id"`
	Error  string `json:"error"` // PostgreSQL's words without values, and its code
}

// MarshalJSON writes the states as numbers beside the others.
func (t Tally) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Target     string `json:"target"`
		Source     string `json:"source"`
		Present    int64  `json:"present"`
		Missing    int64  `json:"missing"`
		Extra      int64  `json:"extra"`
		Different  int64  `json:"different"`
		Parked     int64  `json:"parked"`
		Unowned    int64  `json:"unowned"`
		Suppressed int64  `json:"suppressed"`
		Rewritten  int64  `json:"rewritten"`
		Adoptable  int64  `json:"adoptable"`
		Repaired   int64  `json:"repaired"`
		Outage     string `json:"out_of_service,omitempty"`
	}{
		Target: t.Target, Source: t.Source, Present: t.Users[Present], Missing: t.Users[Missing], Adoptable: t.Users[Adoptable], Extra: t.Users[Extra],
		Different: t.Users[Different], Parked: t.Users[Parked], Unowned: t.Unowned, Suppressed: t.Users[Suppressed],
		Rewritten: t.Users[Rewritten], Repaired: t.Repaired, Outage: t.Outage,
	})
}

// OutOfStep is how many users are out of step, except where a trigger decides. A row of no user is not counted.
func (t *Tally) OutOfStep() int64 {
	return t.Users[Missing] + t.Users[Adoptable] + t.Users[Extra] - t.Unowned + t.Users[Different] + t.Users[Parked]
}

// Unowned is how many rows are of no user of the roll.
func (c *Report) Unowned() (n int64) {
	for _, t := range c.Tallies {
		n += t.Unowned
	}
	return n
}

// InStep reports whether every target could be counted and no user is out of step.
func (c *Report) InStep() bool {
	return !slices.ContainsFunc(c.Tallies, func(t Tally) bool { return t.Outage != "" || t.OutOfStep() > 0 })
}

const (
	// pageUsers is how many users one statement looks at: 10 to 50 ms.
	pageUsers = 2000
	// repairUsers is how many one transaction settles, as many as the largest batch.
	repairUsers = 512
	// pageTimeout bounds a page whose expressions are slow.
	pageTimeout = time.Minute
	// refusedNamed is how many refused users are named.
	refusedNamed = 20
	// examplesNamed is how many users of a target are named.
	examplesNamed = 5
)

// Report holds every user of the roll against every target, page by page, each page in a
// snapshot of its own, and stores the result where Checked finds it. Targets.Check must have
// compiled the targets.
func (a *Audit) Report(ctx context.Context, o Options) (*Report, error) {
	c := newCounting(a, o.Repair)
	if o.Progress != nil {
		total, err := a.rollSize(ctx)
		if err != nil {
			return nil, fmt.Errorf("count the roll: %w", err)
		}
		c.progress = func() { o.Progress(c.seen, total) }
	}
	for round := 1; ; round++ {
		if err := c.roll(ctx); err != nil {
			return nil, fmt.Errorf("check the targets: %w", sqlstate.Mask(err))
		}
		// A user may have waited for what another gave up later: an e-mail, a parent's row.
		if !o.Repair || c.left == 0 || c.helped == 0 || round == settle.Passes {
			break
		}
	}
	if err := errors.Join(c.unowned(ctx), c.outages(ctx)); err != nil {
		return nil, fmt.Errorf("check the targets: %w", sqlstate.Mask(err))
	}
	var names []string
	for i := range a.Targets.Configured() {
		names = append(names, a.Targets.Configured()[i].Name)
	}
	parked, err := a.ParkedGroups(ctx, ParkedFilter{Targets: names, Groups: groupsNamed})
	if err != nil {
		return nil, err
	}
	report := &Report{
		Parked:  parked,
		Tallies: c.list(), Refused: c.refused, Examples: c.named(), Overruled: c.overrulings(),
		CheckedAt: time.Now().UTC().Truncate(time.Microsecond),
	}
	if err := a.store(ctx, report); err != nil {
		return nil, fmt.Errorf("store what was checked: %w", a.Targets.Pool.Explain(err))
	}
	return report, nil
}

// counting is an audit under way.
type counting struct {
	audit   *Audit
	repair  bool
	options Options
	targets []*catalog.Compiled // in the order of settling
	tallies map[tallyKey]*Tally
	trouble map[string]string // why a target can't be counted, by its name
	stuck   map[string]bool   // targets that can't be repaired
	refused []Refused
	// examples are the first few of each target, by its name.
	examples  map[string][]Example
	overruled map[overruledKey]*Overruled
	// untried are targets whose triggers need no more tries: the first found nothing.
	untried map[string]bool
	// left and helped are the users of this walk who are out of step, and who were.
	left, helped int
	seen         int64 // users of this walk
	progress     func()
}

type tallyKey struct{ target, source string }

func newCounting(a *Audit, repair bool) *counting {
	c := &counting{
		audit: a, repair: repair, targets: a.Targets.All(), tallies: map[tallyKey]*Tally{},
		trouble: map[string]string{}, stuck: map[string]bool{},
		overruled: map[overruledKey]*Overruled{}, untried: map[string]bool{}, progress: func() {},
	}
	for _, t := range c.targets {
		if t.Outage != nil {
			c.trouble[t.Name] = t.Outage.Message
		}
		for _, o := range t.From {
			c.tally(t, o.Source)
		}
	}
	return c
}

func (c *counting) tally(t *catalog.Compiled, source string) *Tally {
	key := tallyKey{t.Name, source}
	if c.tallies[key] == nil {
		c.tallies[key] = &Tally{Target: t.Name, Source: source, Users: noUsers()}
	}
	return c.tallies[key]
}

// named lists the examples in the order of the configuration.
func (c *counting) named() []Example {
	var list []Example
	for _, t := range c.audit.Targets.Configured() {
		list = append(list, c.examples[t.Name]...)
	}
	return list
}

func noUsers() map[State]int64 {
	users := map[State]int64{}
	for _, s := range States {
		users[s] = 0
	}
	return users
}

// list puts the tallies into the order of the configuration; rows without a user of no single
// source come last.
func (c *counting) list() []Tally {
	list := []Tally{}
	for _, t := range c.audit.Targets.Configured() {
		for _, o := range append(slices.Clone(t.From), target.Origin{}) {
			if tally := c.tallies[tallyKey{t.Name, o.Source}]; tally != nil {
				list = append(list, *tally)
			}
		}
	}
	return list
}

// roll walks over all users and counts anew.
func (c *counting) roll(ctx context.Context) error {
	c.left, c.helped, c.refused, c.seen, c.examples = 0, 0, nil, 0, map[string][]Example{}
	c.overruled = map[overruledKey]*Overruled{}
	var walks []settle.Key // without an id
	for _, t := range c.targets {
		for _, o := range t.From {
			c.tally(t, o.Source).Users = noUsers()
			if whose := (settle.Key{Roll: t.Roll, Source: o.Source}); !slices.Contains(walks, whose) {
				walks = append(walks, whose)
			}
		}
	}
	slices.SortFunc(walks, settle.CompareKeys)
	for _, whose := range walks {
		err := c.audit.walk(ctx, whose, func(users []settle.Key) error { return c.page(ctx, users) })
		if err != nil {
			return err
		}
	}
	return nil
}

// page counts users of one source for every target that follows it.
func (c *counting) page(ctx context.Context, users []settle.Key) error {
	for _, t := range c.targets {
		if c.trouble[t.Name] != "" || t.Roll != users[0].Roll || !t.Follows(users[0].Source) {
			continue
		}
		found, err := c.statesOf(ctx, t, users)
		if not, ok := errors.AsType[*uncountable](err); ok {
			c.trouble[t.Name] = not.Error()
			continue
		}
		if err != nil {
			return err
		}
		c.add(t, users[0].Source, found)
	}
	c.seen += int64(len(users))
	c.progress()
	return nil
}

// repaired finds out how a target has users, after the repair if there is to be one.
func (c *counting) repaired(ctx context.Context, t *catalog.Compiled, users []settle.Key) (*found, error) {
	now, err := c.audit.find(ctx, t, users)
	if err != nil || !c.repair || c.stuck[t.Name] {
		return now, err
	}
	before := now.outOfStep(users)
	if len(before) == 0 {
		return now, nil
	}
	for some := range slices.Chunk(before, repairUsers) {
		if err := c.audit.Targets.Settle(ctx, t, some); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			c.audit.Targets.Log.Warn("a target can't be repaired at the moment; it is only counted", "target", t.Name, "error", err)
			c.stuck[t.Name] = true
			break
		}
	}
	if now, err = c.audit.find(ctx, t, users); err != nil {
		return nil, err
	}
	now.repaired = len(before) - len(now.outOfStep(before))
	return now, nil
}

func (c *counting) add(t *catalog.Compiled, source string, f *found) {
	tally := c.tally(t, source)
	tally.Repaired += int64(f.repaired)
	c.helped += f.repaired
	for _, u := range slices.SortedFunc(maps.Keys(f.states), settle.CompareKeys) {
		state := f.states[u]
		if state != "" {
			tally.Users[state]++
		}
		if outOfStep(state) {
			c.left++
		}
		if outOfStep(state) && state != Parked && len(c.examples[t.Name]) < examplesNamed {
			c.examples[t.Name] = append(c.examples[t.Name], Example{t.Name, source, u.ID, state})
		}
	}
	for _, r := range f.refused {
		if len(c.refused) < refusedNamed {
			c.refused = append(c.refused, Refused{t.Name, source, r.User.ID, r.Words()})
		}
	}
}

// outages counts what is known of the targets that can't be counted.
func (c *counting) outages(ctx context.Context) error {
	for _, t := range c.targets {
		if c.trouble[t.Name] == "" {
			continue
		}
		for _, o := range t.From {
			tally := c.tally(t, o.Source)
			tally.Users, tally.Outage = noUsers(), c.trouble[t.Name]
		}
		rows, _ := c.audit.Targets.Pool.Query(ctx, `select source, pg_catalog.count(*)
from rollcall.parked where target = $1 group by source`, t.Name)
		var source string
		var n int64
		_, err := pgx.ForEachRow(rows, []any{&source, &n}, func() error {
			if t.Follows(source) {
				c.tally(t, source).Users[Parked] = n
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("count the parked users of target %s: %w", t.Name, err)
		}
	}
	return nil
}
