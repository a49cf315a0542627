package backfill

import _ "embed"

// The statements; the files describe their parameters.
var (
	//go:embed begin.sql
	beginSQL string
	//go:embed moved.sql
	movedSQL string
	//go:embed none.sql
	noneSQL string
	//go:embed note.sql
	noteSQL string
	//go:embed page.sql
	pageSQL string
)
