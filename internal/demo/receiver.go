package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	svix "github.com/svix/svix-webhooks/go"
)

// told is a notification that the demo's application has received and verified.
type told struct {
	Type string
	Data struct{ ID, Email string }
}

// receiver is the endpoint of an application that welcomes users.
type receiver struct {
	url  string
	told chan told
	stop func()
}

const (
	// untold is how many notifications may wait to be shown.
	untold = 256
	// tellTimeout bounds the wait for a notification: it takes up to two seconds.
	tellTimeout = 15 * time.Second
	maxTold     = 64 << 10
)

// startReceiver listens for notifications that a secret signs.
func startReceiver(ctx context.Context, secret string) (*receiver, error) {
	verify, err := svix.NewWebhook(secret)
	if err != nil {
		return nil, fmt.Errorf("the secret of notifications: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for notifications: %w", err)
	}
	r := &receiver{url: "http://" + listener.Addr().String() + "/welcome", told: make(chan told, untold)}
	server := &http.Server{ReadHeaderTimeout: tellTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, maxTold))
		if err != nil || verify.Verify(body, request.Header) != nil {
			http.Error(w, "not verified", http.StatusUnauthorized)
			return
		}
		var got told
		if json.Unmarshal(body, &got) == nil {
			select {
			case r.told <- got:
			default: // more than a screen can show
			}
		}
		w.WriteHeader(http.StatusNoContent)
	})}
	go func() { _ = server.Serve(listener) }() // it ends when it is stopped
	r.stop = func() { _ = server.Close() }
	return r, nil
}

// showTold waits for n notifications and shows them, by the ids of their users.
func (d *demo) showTold(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	list := make([]told, n)
	for i := range list {
		select {
		case list[i] = <-d.receiver.told:
		case <-ctx.Done():
			return errors.New("a notification did not arrive in time")
		}
	}
	slices.SortFunc(list, func(a, b told) int { return strings.Compare(a.Data.ID, b.Data.ID) })
	for _, one := range list {
		d.view.told(one)
	}
	return nil
}
