package main

import (
	"time"

	"rollcall/internal/postgres/audit"
)

// calledJSON is the result of check --user for programs.
type calledJSON struct {
	Users []userJSON `json:"users"`
}

type userJSON struct {
	Source  string         `json:"source"`
	ID      string         `json:"id"`
	Email   string         `json:"email,omitempty"` // masked
	Version time.Time      `json:"version"`
	Deleted bool           `json:"deleted"`
	Kept    []string       `json:"kept,omitempty"` // columns of the roll that keep their last known value
	Targets []audit.Status `json:"targets"`
}

func newCalledJSON(users []audit.User) calledJSON {
	var result calledJSON
	for _, u := range users {
		one := userJSON{
			Source: u.Source, ID: u.ID, Email: u.Email, Version: u.Version, Deleted: u.Deleted, Kept: u.Kept,
			Targets: append([]audit.Status{}, u.Statuses...),
		}
		result.Users = append(result.Users, one)
	}
	return result
}
