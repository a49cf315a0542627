package catalog

import _ "embed"

// The statements; the files describe their parameters.
var (
	//go:embed catalog.sql
	catalogSQL string
	//go:embed closed.sql
	closedSQL string
	//go:embed defaults.sql
	defaultsSQL string
	//go:embed grants.sql
	grantsSQL string
	//go:embed near_tables.sql
	nearTablesSQL string
	//go:embed own_table.sql
	ownTableSQL string
	//go:embed surroundings.sql
	surroundingsSQL string
	//go:embed users_references.sql
	usersReferencesSQL string
)
