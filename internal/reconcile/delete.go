package reconcile

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
)

// deleteGone makes tombstones of rows that the provider has no more, if they are not too many.
func (r *run) deleteGone(ctx context.Context) error {
	gone, err := r.from.countAbsent(ctx)
	if err != nil || gone == 0 {
		return err
	}
	if r.total, r.known, err = r.from.count(ctx); err != nil { // with those that this run has brought
		return err
	}
	if err := r.guards(gone); err != nil {
		return err
	}
	deleted := int64(0)
	return eachAbsent(ctx, r.from, func(absent int, sure, there []directory.Pair) error {
		if deleted += int64(len(sure)); deleted > gone {
			if err := r.guards(deleted); err != nil {
				return err // they are vanishing right now
			}
		}
		r.Unchanged += int64(absent - len(sure) - len(there)) // they are back
		if err := r.deleteSome(ctx, sure); err != nil || len(there) == 0 {
			return err
		}
		return r.mend(ctx, r.sift(part{pairs: there, position: r.Position}))
	})
}

// guards keeps a wrong database or key, or a table that was emptied by mistake, from ending all
// users: so many of the roll's are gone.
func (r *run) guards(gone int64) error {
	known := r.known
	if r.dry {
		known += r.Created // a run would have brought them before it counts
	}
	switch {
	case r.MaxDelete >= 1:
		return nil
	case r.total == 0 && known > 0:
		return stopped{fmt.Errorf("%s: %s reads empty, and the roll has %s of %s; %s If %s is left, run again with --max-delete 100%%",
			r.halt(), r.from.name(), r.rows(known), r.Source.Name(), r.from.doubt(), r.kind.none)}
	case float64(gone) <= r.MaxDelete*float64(known):
		return nil
	}
	share := float64(gone) / float64(known)
	enough := percent(math.Ceil(share*100) / 100)
	are := "are"
	if gone == 1 {
		are = "is"
	}
	return stopped{fmt.Errorf("%s: %d of the %s that the roll knows of %s %s gone from %s (%s), more than max_delete (%s); %s%s If they are really gone, run again with --max-delete %s, or raise reconcile.max_delete",
		r.halt(), gone, r.rows(known), r.Source.Name(), are, r.from.name(), percent(share), percent(r.MaxDelete), r.from.doubt(), r.who(gone, enough), enough)}
}

// halt says what a guard has done, or would do.
func (r *run) halt() string {
	switch {
	case r.dry:
		return "a run would stop here and delete " + r.kind.none
	case r.Deleted == 1:
		return "stopped, 1 was deleted before"
	case r.Deleted > 0:
		return fmt.Sprintf("stopped, %d were deleted before", r.Deleted)
	}
	return "stopped, " + r.kind.none + " was deleted"
}

// who names the command that lists those who are gone, unless this is it and has.
func (r *run) who(gone int64, maxDelete string) string {
	if r.dry && r.Deleted == gone {
		return ""
	}
	return fmt.Sprintf(" To see %s: rollcall reconcile %s --dry-run --max-delete %s.", r.kind.which, r.Source.Name(), maxDelete)
}

// rows is so many of what is compared.
func (r *run) rows(n int64) string {
	if n == 1 {
		return "1 " + r.kind.One
	}
	return fmt.Sprintf("%d %ss", n, r.kind.One)
}

func (r *run) deleteSome(ctx context.Context, pairs []directory.Pair) error {
	events := make([]event.Event, len(pairs))
	for i, p := range pairs {
		if p.Roll != nil {
			events[i] = finding(tombstone(p.Roll, p.At.UTC()), p.At, "reconciled")
			continue
		}
		events[i] = r.look(p.ID, p.At, "reconciled")
		events[i].Op = event.Delete
	}
	outcomes, err := r.Submit(ctx, events)
	if err != nil {
		return fmt.Errorf("delete %s: %w", r.kind.Name, err)
	}
	for _, o := range outcomes {
		if o == event.Stale {
			r.Unchanged++ // the roll has learned more about the user since
		} else {
			r.Deleted++
		}
	}
	return r.Save(ctx)
}

// percent writes a share as the configuration does.
func percent(share float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(share*100, 'f', 1, 64), ".0") + "%"
}
