package audit

import _ "embed"

// The statements that depend on no target; the files describe their parameters.
var (
	//go:embed checked.sql
	checkedSQL string
	//go:embed row_triggers.sql
	rowTriggersSQL string
	//go:embed walk.sql
	walkSQL string
)
