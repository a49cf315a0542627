package main

import (
	"time"

	"rollcall/internal/cli/operate"
	"rollcall/internal/postgres/audit"
)

// reportJSON is the result of check for programs.
type reportJSON struct {
	Targets  []tallyJSON   `json:"targets"`
	Refused  []refusedJSON `json:"refused,omitempty"`
	Examples []exampleJSON `json:"examples,omitempty"` // a few of each target who are out of step
	// Parked says why users are parked, the largest groups first.
	Parked []operate.ParkedGroup `json:"parked,omitempty"`
	// Overruled counts the users whose rows differ from set because of the application's triggers.
	Overruled []overruledJSON `json:"overruled,omitempty"`
	CheckedAt time.Time       `json:"checked_at"`
}

type tallyJSON struct {
	Target     string `json:"target"`
	Source     string `json:"source"` // empty: rows of no user, of a target of several sources
	Present    int64  `json:"present"`
	Missing    int64  `json:"missing"`
	Extra      int64  `json:"extra"`
	Different  int64  `json:"different"`
	Parked     int64  `json:"parked"`
	Unowned    int64  `json:"unowned"`    // of extra: rows of no user of the roll
	Suppressed int64  `json:"suppressed"` // a trigger keeps the row from being written or removed
	Rewritten  int64  `json:"rewritten"`  // a trigger gives a column of set another value
	Repaired   int64  `json:"repaired"`
	Outage     string `json:"out_of_service,omitempty"`
}

type overruledJSON struct {
	Target   string      `json:"target"`
	State    audit.State `json:"state"`
	Users    int64       `json:"users"`
	Source   string      `json:"source"` // of the first of them
	ID       string      `json:"id"`
	Columns  []string    `json:"columns,omitempty"`
	Triggers []string    `json:"triggers"` // of the table, with their functions
}

type exampleJSON struct {
	Target string      `json:"target"`
	Source string      `json:"source"`
	ID     string      `json:"id"`
	State  audit.State `json:"state"`
}

type refusedJSON struct {
	Target string `json:"target"`
	Source string `json:"source"`
	ID     string `json:"id"`
	Error  string `json:"error"`
}

func newReportJSON(c *audit.Report) reportJSON {
	result := reportJSON{Targets: []tallyJSON{}, Parked: operate.NewParkedGroups(c.Parked), CheckedAt: c.CheckedAt}
	for _, t := range c.Tallies {
		result.Targets = append(result.Targets, tallyJSON{
			Target: t.Target, Source: t.Source,
			Present: t.Users[audit.Present], Missing: t.Users[audit.Missing], Extra: t.Users[audit.Extra],
			Different: t.Users[audit.Different], Parked: t.Users[audit.Parked],
			Suppressed: t.Users[audit.Suppressed], Rewritten: t.Users[audit.Rewritten],
			Unowned: t.Unowned, Repaired: t.Repaired, Outage: t.Outage,
		})
	}
	for _, r := range c.Refused {
		result.Refused = append(result.Refused, refusedJSON(r))
	}
	for _, e := range c.Examples {
		result.Examples = append(result.Examples, exampleJSON(e))
	}
	for _, o := range c.Overruled {
		result.Overruled = append(result.Overruled, overruledJSON(o))
	}
	return result
}

// calledJSON is the result of check --user for programs.
type calledJSON struct {
	Users []userJSON `json:"users"`
}

type userJSON struct {
	Source  string       `json:"source"`
	ID      string       `json:"id"`
	Email   string       `json:"email,omitempty"` // masked
	Version time.Time    `json:"version"`
	Deleted bool         `json:"deleted"`
	Kept    []string     `json:"kept,omitempty"` // columns of the roll that keep their last known value
	Targets []statusJSON `json:"targets"`
}

type statusJSON struct {
	Target   string      `json:"target"`
	State    audit.State `json:"state,omitempty"` // none: the user is deleted, and there is no row
	Columns  []string    `json:"columns,omitempty"`
	Triggers []string    `json:"triggers,omitempty"`
	Problem  string      `json:"problem,omitempty"`
	Parked   *parkedJSON `json:"parked,omitempty"`
}

type parkedJSON struct {
	Since    time.Time `json:"since"`
	Attempts int       `json:"attempts"`
	RetryAt  time.Time `json:"retry_at"`
	GivenUp  bool      `json:"given_up"`
	Error    string    `json:"error"`
}

func newCalledJSON(users []audit.User) calledJSON {
	var result calledJSON
	for _, u := range users {
		one := userJSON{
			Source: u.Source, ID: u.ID, Email: u.Email, Version: u.Version, Deleted: u.Deleted, Kept: u.Kept,
			Targets: []statusJSON{},
		}
		for _, s := range u.Statuses {
			one.Targets = append(one.Targets, statusJSON{
				Target: s.Target, State: s.State, Columns: s.Columns, Triggers: s.Triggers, Problem: s.Problem,
				Parked: (*parkedJSON)(s.Parked),
			})
		}
		result.Users = append(result.Users, one)
	}
	return result
}
