package audit

// What the package's tests reach.

const (
	UserIDsSQL   = userIDs
	ParkedIDsSQL = parkedIDs
)
