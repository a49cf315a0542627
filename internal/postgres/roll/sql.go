package roll

import _ "embed"

// The statements; the files describe their parameters.
var (
	//go:embed bans_over.sql
	bansOverSQL string
	//go:embed end_bans.sql
	endBansSQL string
	//go:embed mark_parked.sql
	markParkedSQL string
	//go:embed mark_stale.sql
	markStaleSQL string
	//go:embed member.sql
	memberSQL string
)
