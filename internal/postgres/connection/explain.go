package connection

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// connectError is what keeps a connection from being made, in one sentence with the remedy.
// The address, the user and the database are named, the password is not.
type connectError struct {
	sentence string
	cause    error
}

func (e *connectError) Error() string { return e.sentence }

func (e *connectError) Unwrap() error { return e.cause }

// Explain says in words what keeps a connection from being made.
func (p *Pool) Explain(err error) error {
	var failed *pgconn.ConnectError
	var explained *connectError
	switch {
	case errors.As(err, &explained) || errors.Is(err, context.Canceled):
		return err
	case !errors.As(err, &failed):
		return p.ExplainStandby(err)
	}
	to := p.Config().ConnConfig
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return &connectError{refused(answer, to), err}
	}
	return &connectError{noWay(failed, to), err}
}

// addressOf names the servers that are tried, each once.
func addressOf(to *pgx.ConnConfig) string {
	var list []string
	hosts, ports := addresses(to)
	for i, host := range hosts {
		at := net.JoinHostPort(host, ports[i])
		if strings.HasPrefix(host, "/") {
			at = host + "/.s.PGSQL." + ports[i]
		}
		list = append(list, at)
	}
	return strings.Join(list, " or ")
}

// refused says what a server's answer to the attempt means.
func refused(answer *pgconn.PgError, to *pgx.ConnConfig) string {
	at := "the server at " + addressOf(to)
	switch answer.Code {
	case "28P01":
		if to.Password == "" {
			return fmt.Sprintf("%s asks user %s for a password, and there is none; write it into database, "+
				"or set PGPASSWORD or PGPASSFILE", at, to.User)
		}
		return fmt.Sprintf("%s refuses user %s: the password is wrong, or there is no such role; "+
			"correct the one or the other in database", at, to.User)
	case "28000":
		return unauthorised(answer, to)
	case "3D000":
		return fmt.Sprintf("%s has no database %s; create it, or correct its name in database", at, to.Database)
	case "53300":
		return fmt.Sprintf("%s has no connection left for user %s (%s); end others, raise max_connections "+
			"or the limit of the role, or lower pool_max_conns in database", at, to.User, answer.Message)
	case "57P03":
		return fmt.Sprintf("%s takes no connections yet (%s); wait until it is up, or look at its log", at, answer.Message)
	case "42704", "22023": // an unknown setting, a wrong value
		return fmt.Sprintf("%s refuses a setting of database (%s); correct it, or remove it", at, answer.Message)
	case "08P01": // PgBouncer's for whatever it refuses
		if strings.HasPrefix(answer.Message, "unsupported startup parameter") {
			return fmt.Sprintf("%s refuses a setting of database (%s); remove it", at, answer.Message)
		}
	case sqlstate.InsufficientPrivilege:
		if answer.Routine == "CheckMyDatabase" {
			return fmt.Sprintf("user %s may not connect to database %s at %s; run grant connect on database %s to %s",
				to.User, to.Database, addressOf(to), target.Quote(to.Database), target.Quote(to.User))
		}
	}
	if strings.HasSuffix(to.Host, ".pooler.supabase.com") && !strings.Contains(to.User, ".") {
		return fmt.Sprintf("%s refuses user %s (%s); at Supabase's pooler the user is %[2]s.<ref>, with the project's "+
			"ref behind a dot", at, to.User, answer.Message)
	}
	return fmt.Sprintf("%s refuses the connection of user %s to database %s (%s); look at its log",
		at, to.User, to.Database, answer.Message)
}

// unauthorised tells the reasons apart by the function of the server that gives them: they
// share a code, and the messages are in the server's language.
func unauthorised(answer *pgconn.PgError, to *pgx.ConnConfig) string {
	at := addressOf(to)
	switch {
	case strings.HasPrefix(answer.Routine, "InitializeSessionUserId"):
		return fmt.Sprintf("the server at %s has no role %s that may log in (%s); run create role %[4]s login, "+
			"or alter role %[4]s login, or correct the user in database", at, to.User, answer.Message, target.Quote(to.User))
	case answer.Routine == "ClientAuthentication":
		remedy := "add a line to its pg_hba.conf"
		if to.TLSConfig == nil && !strings.HasPrefix(to.Host, "/") {
			remedy += ", or write sslmode=require into database if it wants encryption"
		}
		return fmt.Sprintf("the server at %s does not admit user %s to database %s from here (%s); %s",
			at, to.User, to.Database, answer.Message, remedy)
	}
	return fmt.Sprintf("the server at %s refuses user %s (%s); correct the name in database, "+
		"or the method in its pg_hba.conf", at, to.User, answer.Message)
}

// supabaseHost is the direct host of a project, which has no IPv4 address unless that is paid for.
var supabaseHost = regexp.MustCompile(`^db\.[a-z0-9]+\.supabase\.co$`)

// noWay explains why no server has answered an attempt.
func noWay(err *pgconn.ConnectError, to *pgx.ConnConfig) string {
	at := addressOf(to)
	var name *net.DNSError
	var network *net.OpError
	switch {
	case strings.Contains(err.Error(), "server refused TLS connection"): // the driver has no name for it
		return fmt.Sprintf("the server at %s has no TLS, which sslmode asks for; turn ssl on there, "+
			"or write sslmode=disable into database if the network is trusted", at)
	case certificateProblem(err) != "":
		return fmt.Sprintf("the certificate of the server at %s %s", at, certificateProblem(err))
	case supabaseHost.MatchString(to.Host) && (errors.As(err, &name) || errors.As(err, &network) || pgconn.Timeout(err)):
		return fmt.Sprintf("%s can't be reached from here: without an add-on it is there over IPv6 only; put the "+
			"session pooler into database, as the project's page Connect shows it: port 5432, user %s.<ref>", at, to.User)
	case pgconn.Timeout(err):
		return fmt.Sprintf("no answer from %s within %s; correct the address in database, or look for a firewall",
			at, to.ConnectTimeout)
	case errors.As(err, &name):
		return fmt.Sprintf("the name %s is not known (%s); correct the host in database", to.Host, name.Err)
	case errors.Is(err, pgconn.ErrReadOnlyConnection), errors.Is(err, pgconn.ErrStandbyConnection):
		return fmt.Sprintf("the server at %s is a standby, which takes no writes; let database name its primary", at)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), !errors.As(err, &network):
		return fmt.Sprintf("what listens at %s is no PostgreSQL, or is about to stop (%s); correct the address "+
			"in database, or look at its log", at, innermost(err))
	}
	return fmt.Sprintf("no PostgreSQL answers at %s (%s); start it, or correct the address in database", at, network.Err)
}

// certificateProblem is empty where the certificate is not what keeps the connection from being made.
func certificateProblem(err error) string {
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &name):
		return fmt.Sprintf("is for another name (%s); write the host as the certificate has it, or sslmode=verify-ca", name)
	case errors.As(err, &authority), errors.As(err, &invalid), errors.As(err, &verification):
		return fmt.Sprintf("can't be trusted (%s); write sslmode=verify-full and sslrootcert=FILE into database, "+
			"with the certificate of its authority", innermost(err))
	}
	return ""
}

// innermost is the first cause; what stands around it repeats addresses and names.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) > 0 {
			inner = joined.Unwrap()[0]
		}
		if inner == nil {
			return err
		}
		err = inner
	}
}

// ExplainStandby says in words that a server refuses what would write because it is a standby.
func (p *Pool) ExplainStandby(err error) error {
	if state := sqlstate.Of(err); state != sqlstate.ReadOnlyTransaction && state != sqlstate.NotSupported {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), LeaveTimeout)
	defer cancel()
	var standby bool
	if p.QueryRow(ctx, "select pg_catalog.pg_is_in_recovery()").Scan(&standby) != nil || !standby {
		return err
	}
	return fmt.Errorf("the server at %s is a standby, which takes no writes; let database name its primary: %w",
		addressOf(p.Config().ConnConfig), err)
}
