package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"rollcall/internal/config"
	"rollcall/internal/postgres/tokens"
	"rollcall/internal/target"
)

// claims finds functions of access tokens that are not those of the configuration, or that the wrong roles may call.
func (e *examination) claims(ctx context.Context) error {
	on := tokens.Tokens{Pool: e.DB.Pool()}
	for i := range e.Claims {
		c := &e.Claims[i]
		err := on.Check(ctx, c)
		var refused *tokens.RefusedError
		switch {
		case errors.As(err, &refused):
			e.add(claimsRefused, refused.At, refused.What, orEdit(config.Remedy{}, refused.At))
			continue
		case err != nil:
			return err
		}
		state, err := on.State(ctx, c)
		if err != nil {
			return err
		}
		e.claimsOf(c, state)
	}
	return nil
}

func (e *examination) claimsOf(c *target.Claims, s tokens.State) {
	function := "function rollcall_api." + c.Function()
	install := command("rollcall claims install %s", c.Source)
	switch {
	case !s.Installed:
		e.add(claimsMissing, e.File.At(config.Path("sources", c.Source, "claims")).String(), fmt.Sprintf("access tokens of source %s have none of its claims: "+
			"the function is not installed", c.Source), install)
		return
	case !s.Current:
		e.add(claimsOld, function, fmt.Sprintf("the claims of source %s are older than the configuration, or were changed by hand", c.Source), install)
	}
	if !s.Callable {
		e.add(claimsClosed, function, "the auth server may not call it: no user can sign in while it is chosen as the hook", install)
	}
	if len(s.Others) > 0 {
		e.add(claimsOpen, function, "not only the auth server may call it, which tells what claims any user has: "+strings.Join(s.Others, ", "),
			sql("revoke all on function rollcall_api.%s(jsonb) from %s", c.Function(), strings.Join(quoted(s.Others), ", ")))
	}
}

func quoted(roles []string) []string {
	var list []string
	for _, r := range roles {
		if r != "public" {
			r = target.Quote(r)
		}
		list = append(list, r)
	}
	return list
}
