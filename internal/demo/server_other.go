//go:build !unix

package demo

import (
	"context"
	"fmt"
	"runtime"
)

func startDatabase(context.Context) (*database, error) {
	return nil, fmt.Errorf("the demo can't start a private PostgreSQL on %s; run it on Linux or macOS, or in WSL. "+
		"All other commands work here", runtime.GOOS)
}
