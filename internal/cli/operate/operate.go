// Package operate has the commands that look at an installation and act on it.
package operate

import (
	"github.com/spf13/cobra"

	"rollcall/internal/cli"
)

// Commands are the commands of this package.
func Commands(env cli.Env) []*cobra.Command {
	return []*cobra.Command{
		newDoctor(env), newErase(env), newEvents(env), newNotifications(env), newParked(env), newReplay(env), newStatus(env), newUser(env), newValidate(env),
	}
}
