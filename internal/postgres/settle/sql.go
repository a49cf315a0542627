package settle

import _ "embed"

// The statements; the files describe their parameters.
var (
	//go:embed forget_filling.sql
	forgetFillingSQL string
	//go:embed clear.sql
	clearSQL string
	//go:embed forget_erased.sql
	forgetErasedSQL string
	//go:embed lock.sql
	lockSQL string
	//go:embed lock_pairs.sql
	lockPairsSQL string
	//go:embed make_due.sql
	makeDueSQL string
	//go:embed park.sql
	parkSQL string
	//go:embed park_all.sql
	parkAllSQL string
	//go:embed reason_against.sql
	reasonAgainstSQL string
	//go:embed reason_columns.sql
	reasonColumnsSQL string
	//go:embed reason_places.sql
	reasonPlacesSQL string
	//go:embed span_clear.sql
	spanClearSQL string
	//go:embed span_lock.sql
	spanLockSQL string
)
