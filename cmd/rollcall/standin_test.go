package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
)

// standIn names the program that stands in for psql and createdb: standIn psql ARGUMENT….
const standIn = "postgres-client"

// runStandIn runs what the quick starts need of psql and createdb, and no more. The server is the one that
// PGHOST and the like name.
func runStandIn() {
	do := psql
	if os.Args[1] == "createdb" {
		do = func(args []string) error { return psql([]string{"-q", "postgres", "-c", "create database " + args[0]}) }
	}
	if err := do(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, os.Args[1]+":", err)
		os.Exit(1)
	}
}

// psql runs psql [-q] DATABASE [-c SQL… | -f FILE]; without -c and -f it reads standard input.
func psql(args []string) error {
	var database string
	var statements []string
	quiet := false
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "-q":
			quiet = true
		case (arg == "-c" || arg == "-f") && len(args) > 0:
			text := args[0]
			if arg == "-f" {
				file, err := os.ReadFile(text)
				if err != nil {
					return err
				}
				text = string(file)
			}
			statements, args = append(statements, text), args[1:]
		case database == "" && !strings.HasPrefix(arg, "-"):
			database = arg
		default:
			return fmt.Errorf("the stand-in for psql does not know %q", arg)
		}
	}
	if statements == nil {
		text, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		statements = []string{string(text)}
	}
	return inDatabase(database, quiet, statements)
}

// inDatabase runs statements and prints what psql would print.
func inDatabase(database string, quiet bool, statements []string) (err error) {
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, "dbname="+database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	for _, sql := range statements {
		results, err := conn.Exec(ctx, sql).ReadAll()
		if err != nil {
			return err
		}
		for _, r := range results {
			switch {
			case len(r.FieldDescriptions) > 0:
				fmt.Print(aligned(r))
			case !quiet:
				fmt.Println(r.CommandTag)
			}
		}
	}
	return nil
}

// aligned is a table of texts as psql prints it.
func aligned(r *pgconn.Result) string {
	widths := make([]int, len(r.FieldDescriptions))
	for i, f := range r.FieldDescriptions {
		widths[i] = utf8.RuneCountInString(f.Name)
		for _, row := range r.Rows {
			widths[i] = max(widths[i], utf8.RuneCount(row[i]))
		}
	}
	header, line := make([]string, len(widths)), make([]string, len(widths))
	for i, f := range r.FieldDescriptions {
		space := widths[i] - utf8.RuneCountInString(f.Name)
		header[i] = strings.Repeat(" ", space/2) + f.Name + strings.Repeat(" ", space-space/2)
		line[i] = strings.Repeat("-", widths[i])
	}
	text := " " + strings.Join(header, " | ") + " \n-" + strings.Join(line, "-+-") + "-\n"
	for _, row := range r.Rows {
		cells := make([]string, len(row))
		for i, value := range row {
			cells[i] = fmt.Sprintf("%-*s", widths[i], value)
		}
		text += " " + strings.TrimRight(strings.Join(cells, " | "), " ") + "\n"
	}
	plural := "s"
	if len(r.Rows) == 1 {
		plural = ""
	}
	return fmt.Sprintf("%s(%d row%s)\n\n", text, len(r.Rows), plural)
}
