// Package audit holds the targets against the roll, user by user, and counts, names and repairs what
// differs:
//
//	report, err := (&audit.Audit{Targets: targets}).Report(ctx, audit.Options{Repair: true})
package audit

import (
	"rollcall/internal/postgres/settle"
)

// Audit holds the targets against the roll.
type Audit struct{ Targets *settle.Targets }
