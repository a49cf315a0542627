package sample

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
)

const signHelp = `Signs an event as its provider would and prints a curl command that posts it. It works in
every POSIX shell, and in bash and zsh, for five minutes: then the signature is too old. In
fish a body may be refused; csh takes long ones apart, so don't use it.

%s

A body that is JSON is printed, and signed, on one line. The signing secret is not printed.
A database webhook has no signature: its curl holds the secret of the header, so keep
it to yourself.`

const signExample = `  rollcall sign clerk user.created
  rollcall sign clerk organizationMembership.created --set data.role=org:admin
  rollcall sign supabase database.insert --set record.email=zoe@example.com | sh`

func newSign(env cli.Env) *cobra.Command {
	var flags draftFlags
	cmd := &cobra.Command{
		Use:               "sign SOURCE EVENT|FILE",
		Short:             "Signs an event as its provider would, for curl",
		Long:              fmt.Sprintf(signHelp, draftHelp()),
		Example:           signExample,
		Args:              sourceAndEvent,
		ValidArgsFunction: events(env),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := newDraft(cmd, env, flags)
			if err != nil {
				return err
			}
			return sign(env, d)
		},
	}
	flags.bind(cmd)
	return cmd
}

func sign(env cli.Env, d *draft) error {
	body, err := d.Body(1, false)
	if err != nil {
		return err
	}
	r, err := d.Seal(oneLine(body))
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(env.Stdout, r.Curl(d.base))
	return err
}

// oneLine takes the line breaks out of a JSON body; others mean what they are.
func oneLine(body []byte) []byte {
	var compact bytes.Buffer
	if json.Compact(&compact, body) != nil {
		return body
	}
	return compact.Bytes()
}
