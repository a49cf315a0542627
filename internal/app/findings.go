package app

import (
	"context"

	"rollcall/internal/doctor"
)

// watchFindings examines at once, and then after each pause.
func (sv *service) watchFindings(ctx context.Context) {
	every(ctx, doctor.Pause, func() { sv.examine(ctx) })
}

func (sv *service) examine(ctx context.Context) {
	cfg := sv.setup().Doctor(sv.db, sv.now.Load().apis)
	cfg.Targets = doctor.InService
	if d := doctor.Examine(ctx, cfg); ctx.Err() == nil {
		sv.findings.Log(d, sv.log)
	}
}
