package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/terminal"
)

func newServe(env cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Receives webhooks and keeps the targets in step",
		Args:  cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := env.Load(cmd)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			o := app.Options{
				Setup: s, Log: s.Logger(env.Stderr), Version: buildVersion(),
				Read: func() (*app.Setup, error) { return env.Load(cmd) },
			}
			if terminal.Is(env.Stderr) { // which goes away with it
				ctx, o.Banner = env.UntilHangup(ctx), env.Stderr
			} else {
				o.Hangup = env.Hangup
			}
			return app.Run(ctx, o)
		},
	}
}

func newHealth(env cli.Env) *cobra.Command {
	var ready bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Asks a running serve whether it is alive",
		Args:  cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := env.Load(cmd)
			if err != nil {
				return err
			}
			path := "/healthz"
			if ready {
				path = "/readyz"
			}
			if err := askHealth(cmd.Context(), "http://"+reachable(s.Config.AdminListen)+path); err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.Stdout, "ok")
			return err
		},
	}
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it can commit, too")
	return cmd
}

// reachable turns an address to listen on into one to connect to.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func askHealth(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w; start rollcall serve, or correct admin_listen", url, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s; the log of serve says why", url, response.Status)
	}
	return nil
}
