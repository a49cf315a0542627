package operate

import (
	"context"
	"encoding/json"
	"time"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/replay"
)

// foresee prints what a replay would do.
func (o *replayOptions) foresee(ctx context.Context, env cli.Env, s *app.Setup) error {
	finish := env.Waiting("trying")
	defer finish()
	db, err := s.OpenChecked(ctx, s.Logger(env.Stderr), env.Complain)
	if err != nil {
		return err
	}
	defer app.CloseSoon(db)
	r := replay.Replay{DB: db, Sources: s.Sources, Reveal: o.reveal}
	done := &replayed{DryRun: true}
	if len(o.ids) > 0 {
		events, err := o.named(ctx, db.History())
		if err != nil {
			return err
		}
		foreseen, err := r.DryRun(ctx, events)
		if err != nil {
			return err
		}
		finish()
		done.Events, done.Changes, done.Remarks = foreseen.Results, foreseen.Changes, foreseen.Remarks
		return o.print(env, done, foreseen.Results)
	}
	chosen, err := o.filter(ctx, db)
	if err != nil {
		return err
	}
	if chosen.Until.IsZero() {
		chosen.Until = time.Now()
	}
	done.Tally = &replay.Tally{Became: map[string]int64{}}
	err = r.DryRange(ctx, chosen, func(page *replay.Foreseen) error {
		done.add(page)
		return nil
	})
	if err != nil {
		return err
	}
	finish()
	return o.print(env, done, done.Problems)
}

// add takes over what a page would do.
func (r *replayed) add(page *replay.Foreseen) {
	r.Changes, r.Remarks = append(r.Changes, page.Changes...), append(r.Remarks, page.Remarks...)
	for i := range page.Results {
		one := &page.Results[i]
		r.Tally.Events++
		r.Tally.Became[string(one.Became)]++
		if one.Bytes == nil {
			r.Tally.WithoutBody++
		}
		if needsLook(one) && len(r.Problems) < problemsShown {
			r.Problems = append(r.Problems, *one)
		}
	}
}

// shownJSON is a value for people: a text without quotes.
func shownJSON(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil && string(value) != "null" {
		return text
	}
	return string(value)
}
