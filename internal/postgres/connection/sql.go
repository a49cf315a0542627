package connection

import _ "embed"

// SettingsSQL gives a transaction its settings; Pool.Timeouts are its parameters.
//
//go:embed settings.sql
var SettingsSQL string
