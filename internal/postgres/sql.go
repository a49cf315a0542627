package postgres

import _ "embed"

// The statements; the files describe their parameters.
var (
	//go:embed forget_bodies.sql
	forgetBodiesSQL string
	//go:embed forget_events.sql
	forgetEventsSQL string
	//go:embed unanswered.sql
	unansweredSQL string
)
