package roll

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/target"
)

// Organisations and memberships. A membership is alive while its user and its organisation are. So that none
// outlives them, whoever writes a membership holds the roll rows of its organisation and of its user, in this
// order; and whoever deletes one of them ends the memberships in the same transaction.

// endedAtOnce is how many memberships a transaction ends that deletes a user or an organisation. It notes that
// there may be others, which EndMemberships ends, as many at a time.
const endedAtOnce = 500

// waitingAtOnce is how many parked memberships are settled with their parent before its event is answered. If a target
// refuses them all again, this takes half a second.
const waitingAtOnce = 100

// ofTeam reports whether an event carries an organisation or a membership; one that is only to be settled names it.
func ofTeam(e *event.Event) bool {
	return e.Op != event.Settle && (e.Organization != nil || e.Membership != nil)
}

// team is events about organisations and memberships that are applied together.
type team struct {
	organizations, members *batch
	// parents are the organisations and users whose rows are held.
	parents [][]settle.Key
	ended   []settle.Key // memberships whose organisation is deleted
}

func newTeam(events []event.Event) *team {
	t := &team{organizations: newBatch(organizations, events), members: newBatch(memberships, events)}
	owners, people := slices.Clone(t.organizations.users), []settle.Key(nil)
	for _, r := range t.members.records {
		m, _ := r.(*event.Membership)
		if m.OrganizationID != nil {
			owners = append(owners, settle.Key{Roll: &event.Organizations, Source: m.Source, ID: *m.OrganizationID})
		}
		if m.UserID != nil {
			people = append(people, settle.Key{Roll: &event.Users, Source: m.Source, ID: *m.UserID})
		}
	}
	for _, keys := range [][]settle.Key{owners, people} {
		slices.SortFunc(keys, settle.CompareKeys)
		if keys = slices.Compact(keys); len(keys) > 0 {
			t.parents = append(t.parents, keys)
		}
	}
	return t
}

// applyTeams is Apply for events about organisations and memberships.
func (r *Roll) applyTeams(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
	if sooner, later := keptAfterOthers(events); later != nil {
		return applyParts(ctx, events, part{sooner, r.applyTeams}, part{later, r.applyTeams})
	}
	t := newTeam(events)
	w, organizations, members := t.work(r.targets.Fingerprint())
	waiting := r.waitingMembers(w, len(t.parents), t.organizations.users, t.organizations.versions())
	parked, err := r.targets.Commit(ctx, w)
	r.commits.committed(err)
	if settle.FailedFor(err, settle.RollRefuses) {
		return r.isolate(ctx, events, err, r.applyTeams)
	}
	if err != nil {
		return nil, fmt.Errorf("apply %d events about teams: %w: %w", len(events), event.ErrUnavailable, err)
	}
	organizations.parked, members.parked = parked, parked
	outcomes := t.outcomes(organizations, members)
	r.followUp(ctx, events, settled{w.Held(), parked}, outcomes)
	r.settleWaiting(ctx, waiting)
	r.warnOfKept(ctx, events, outcomes)
	return outcomes, nil
}

// outcomes tells each event what became of it: of one about a membership, what became of that.
func (t *team) outcomes(organizations, members *result) []event.Outcome {
	outcomes, ofMembers := t.organizations.outcomes(organizations), t.members.outcomes(members)
	for i := range outcomes {
		if t.members.events[i].Membership != nil {
			outcomes[i] = ofMembers[i]
		}
	}
	return outcomes
}

// work is the transaction: the locks, the organisations with all events, the memberships, those that end with
// their organisation; and where it notes what was done.
func (t *team) work(fingerprint int32) (w *settle.Work, organizations, members *result) {
	w, organizations = t.organizations.work(fingerprint)
	members = &result{}
	write := w.Open
	w.Open = nil
	for _, keys := range t.parents {
		w.Open = append(w.Open, LockRows(keys))
	}
	w.Open = append(w.Open, write...)
	if len(t.members.records) > 0 {
		w.Open = append(w.Open, t.writeMembers(fingerprint, organizations, members))
	}
	if t.organizations.deletes {
		w.Open = append(w.Open, endMemberships(t.organizations.users, fingerprint, &t.ended))
		w.Found = func() []settle.Key { return t.ended }
	}
	for _, keys := range t.parents {
		sources, ids := settle.KeyArrays(keys)
		w.Open = append(w.Open, settle.Step{Kind: settle.Writing, SQL: settle.On(keys[0].Roll, dropPlaceholdersSQL), Args: []any{sources, ids}})
	}
	w.Users = slices.Concat(t.organizations.users, t.members.users)
	w.Deletes = t.organizations.deletes || len(t.members.records) > 0 // a membership may end with what is held already
	w.Held = func() []settle.Key {
		held := slices.Concat(t.organizations.writtenUsers(organizations), t.members.writtenUsers(members), t.ended)
		slices.SortFunc(held, settle.CompareKeys)
		return slices.Compact(held)
	}
	w.MarkParked = t.markParked
	return w, organizations, members
}

// markParked corrects the outcome of events: of one about a membership it is the membership's.
func (t *team) markParked(parked map[settle.Key]bool, locked bool) []settle.Step {
	organizations := *t.organizations
	organizations.recorded = slices.DeleteFunc(slices.Clone(organizations.recorded), func(at int) bool {
		return organizations.events[at].Membership != nil
	})
	return append(organizations.markParked(parked, locked), t.members.markParked(parked, locked)...)
}

// writeMembers writes the memberships of events that the transaction has recorded.
func (t *team) writeMembers(fingerprint int32, organizations, members *result) settle.Step {
	var sources, ids []string
	for _, at := range t.members.recorded {
		e := &t.members.events[at]
		sources, ids = append(sources, e.Source), append(ids, e.ID)
	}
	args := append([]any{sources, ids}, t.members.recordArrays()...)
	return settle.Step{Kind: settle.Writing, SQL: memberships.write, Args: append(args, fingerprint), Read: func(rows pgx.Rows) error {
		err := members.readRoll(rows)
		members.fresh = organizations.fresh
		return err
	}}
}

// LockRows locks the rows of keys of one roll, of which there is at least one: unknown rows, too, so that no other
// transaction writes them. What follows it deletes the placeholders that are left.
func LockRows(keys []settle.Key) settle.Step {
	sources, ids := settle.KeyArrays(keys)
	return settle.Step{Kind: settle.Writing, SQL: settle.On(keys[0].Roll, lockRowsSQL), Args: []any{sources, ids}}
}

// endMemberships ends those of the users, or of the organisations, that are deleted; parents are held.
func endMemberships(parents []settle.Key, fingerprint int32, ended *[]settle.Key) settle.Step {
	sources, ids := settle.KeyArrays(parents)
	text := fmt.Sprintf(settle.On(parents[0].Roll, endMembershipsSQL), parentColumn(parents), endedAtOnce, target.Literal(parents[0].Roll.Name), Emptied(&event.Memberships))
	return settle.Step{Kind: settle.Writing, SQL: text, Args: []any{sources, ids, fingerprint}, Read: func(rows pgx.Rows) (err error) {
		*ended, err = settle.CollectKeys(rows, &event.Memberships)
		return err
	}}
}

// parentColumn is the column of a membership that names parents of one roll.
func parentColumn(parents []settle.Key) string {
	if parents[0].Roll == &event.Organizations {
		return "organization_id"
	}
	return "user_id"
}

// waitingMembers has a transaction read, at a place behind its locks, which memberships of parents are parked, by
// target. The retry clock is no matter: what they waited for may be there when it has ended. Of a parent that comes
// with a version only one that is newer than the roll's counts: each event about a membership carries its
// organisation, and must not try all others again.
func (r *Roll) waitingMembers(w *settle.Work, at int, parents []settle.Key, versions []*int64) map[string][]settle.Key {
	var names []string
	for _, t := range r.targets.All() {
		if t.Roll == &event.Memberships && t.Outage == nil {
			names = append(names, t.Name)
		}
	}
	if len(names) == 0 || len(parents) == 0 {
		return nil
	}
	waiting := map[string][]settle.Key{}
	sources, ids := settle.KeyArrays(parents)
	text := fmt.Sprintf(settle.On(parents[0].Roll, parkedMembersSQL), parentColumn(parents))
	step := settle.Step{Kind: settle.Reading, SQL: text, Args: []any{sources, ids, versions, names}, Read: func(rows pgx.Rows) error {
		clear(waiting)
		var name string
		member := settle.Key{Roll: &event.Memberships}
		_, err := pgx.ForEachRow(rows, []any{&name, &member.Source, &member.ID}, func() error {
			waiting[name] = append(waiting[name], member)
			return nil
		})
		return err
	}}
	w.Open = slices.Insert(w.Open, at, step)
	return waiting
}

// settleWaiting settles parked memberships, so many of a target that no sender waits long, and has the others tried
// at once. So is what fails, by the retry clock.
func (r *Roll) settleWaiting(ctx context.Context, waiting map[string][]settle.Key) {
	for _, name := range slices.Sorted(maps.Keys(waiting)) {
		t := r.targets.Named(name)
		if t == nil {
			continue
		}
		slices.SortFunc(waiting[name], settle.CompareKeys)
		members := slices.Compact(waiting[name])
		now := min(len(members), waitingAtOnce)
		// The user or the organisation is news about them, so their tries begin anew.
		_, err := r.targets.Commit(ctx, settle.SettleWork(t, members[:now]))
		if _, later := settle.KeyArrays(members[now:]); len(later) > 0 {
			_, failed := r.targets.MakeDue(ctx, name, later)
			err = errors.Join(err, failed)
		}
		if err != nil {
			r.targets.Log.Warn("parked memberships could not be settled with their user or organisation; they are tried again",
				"target", name, "memberships", len(members), "error", err)
		}
	}
}

// endMembershipsOfUsers has a batch that deletes users end their memberships. Without a target that follows them
// there is nothing to settle, and the transaction stays one round trip.
func (r *Roll) endMembershipsOfUsers(b *batch, w *settle.Work) {
	if !b.deletes {
		return
	}
	var ended []settle.Key
	w.Open = append(w.Open, endMemberships(b.users, r.targets.Fingerprint(), &ended))
	if !r.followsMemberships() {
		return
	}
	w.Found = func() []settle.Key { return ended }
	held := w.Held
	w.Held = func() []settle.Key {
		all := slices.Concat(held(), ended)
		slices.SortFunc(all, settle.CompareKeys)
		return all
	}
}

// followsMemberships reports whether a target does, in service or not.
func (r *Roll) followsMemberships() bool {
	for _, t := range r.targets.All() {
		if t.Roll == &event.Memberships {
			return true
		}
	}
	return false
}

// MembershipsToEnd reports whether a user or an organisation was deleted that has more memberships than one
// transaction ends.
func (r *Roll) MembershipsToEnd(ctx context.Context) (some bool, err error) {
	err = r.targets.Pool.QueryRow(ctx, "select exists (select from rollcall.endings)").Scan(&some)
	return some, connection.Wrap(err, "look for memberships to end")
}

// EndMemberships ends the memberships of all who were deleted with many, a page at a time, and returns how many it
// has ended.
func (r *Roll) EndMemberships(ctx context.Context) (ended int, err error) {
	for {
		var name string
		var parent settle.Key
		err := r.targets.Pool.QueryRow(ctx, "select roll, source, id from rollcall.endings limit 1").Scan(&name, &parent.Source, &parent.ID)
		if errors.Is(err, pgx.ErrNoRows) {
			return ended, nil
		}
		if err == nil {
			parent.Roll = event.RollNamed(name)
			err = r.endPage(ctx, parent, &ended)
		}
		if err != nil {
			return ended, fmt.Errorf("end the memberships of those who were deleted: %w", err)
		}
	}
}

// endPage ends a page of the memberships of a user or an organisation.
func (r *Roll) endPage(ctx context.Context, parent settle.Key, count *int) error {
	var ended []settle.Key
	w := settle.LockWork([]settle.Key{parent})
	w.Purpose, w.Users, w.Deletes = settle.RecordEvents, nil, true
	w.Open = append(w.Open, endMemberships([]settle.Key{parent}, r.targets.Fingerprint(), &ended))
	w.Found = func() []settle.Key { return ended }
	w.Held = w.Found
	_, err := r.targets.Commit(ctx, w)
	if err == nil {
		*count += len(ended)
	}
	return err
}
