//go:build bench

package main

import (
	"context"
	"errors"
	"io"
)

func runLong(context.Context, options, io.Writer) error { return errors.New("not yet") }
