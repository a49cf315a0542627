package connection

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// connectionString is a connection string, parsed. The driver gets it put together again, so
// that there is one reading. The driver's own reading is generous: of a password with a raw @
// or / it makes a host, which ends up in the log and in DNS.
type connectionString struct {
	settings map[string]string
	ignored  []string // names of other programs' parameters
	remedies []string // what to do instead, where ignoring makes a difference
	nameless bool     // what looks like a parameter's name may be a part of the password
}

// The errors name what is wrong and nothing that the string holds: any part of it may be a
// part of the password.
var (
	errEncode = errors.New("database: this URL has two readings, or a % that starts no code; " +
		"percent-encode what the user, the password and the other parts hold: " + encodings + "; " +
		"or leave the password out and set PGPASSWORD, which needs no encoding")
	errForm = errors.New("database: this is no connection string; write postgres://user:password@host:5432/name, " +
		"or host=… user=… dbname=…, and quote a value that holds a space: " +
		"password='…', with \\' and \\\\ for ' and \\")
	errMarks = errors.New("database: the connection string stands between quotation marks; remove them " +
		"(a file for docker --env-file keeps them)")
	errPair = errors.New("database: a parameter behind the ? of the URL is not of the form name=value; correct it, " +
		"and write a & in a value as %26")
	errUnknown = errors.New("database: a parameter is not known, and not named here because it may be a part of " +
		"the password; if it is, quote the password: password='…', in a URL percent-encode it; " +
		"otherwise remove the parameter")
	errHost = errors.New("database: a host must be a name, an address or the directory of a socket; " +
		"write an IPv6 address as [::1]:5432; if this is a part of the password, percent-encode that: " + encodings)
	errPort = errors.New("database: a port must be a number up to 65535, one for each host or one for all; " +
		"if this is a part of the password, percent-encode that and write user:password@host:port: " + encodings)
	errSSL = errors.New("database: ssl is true or absent; write sslmode instead, such as sslmode=require")
)

const encodings = "@ is %40, / is %2F, : is %3A, ? is %3F, # is %23, [ is %5B, ] is %5D, " +
	"& is %26, % is %25, a space is %20"

// What a connection string may hold: the parameters of the driver, those of its pool, and
// settings of the server that a client has reason to change. Others go through options.
var parameters = strings.Fields(`host port database user password passfile connect_timeout
	sslmode sslkey sslcert sslcertmode sslrootcert sslnegotiation sslpassword sslsni
	krbspn krbsrvname target_session_attrs service servicefile
	min_protocol_version max_protocol_version channel_binding require_auth
	pool_max_conns pool_min_conns pool_min_idle_conns pool_max_conn_lifetime pool_max_conn_idle_time
	pool_health_check_period pool_max_conn_lifetime_jitter pool_ping_timeout
	statement_cache_capacity description_cache_capacity default_query_exec_mode
	application_name options role timezone datestyle intervalstyle client_encoding search_path work_mem
	statement_timeout lock_timeout transaction_timeout idle_in_transaction_session_timeout idle_session_timeout
	default_transaction_isolation default_transaction_read_only default_transaction_deferrable
	tcp_keepalives_idle tcp_keepalives_interval tcp_keepalives_count tcp_user_timeout`)

// foreign are parameters that other programs read and that change nothing here, with what to
// do instead where that matters.
var foreign = map[string]string{
	// Prisma
	"schema": "each target names its schema in table, such as table: shop.orders", "pgbouncer": "",
	"connection_limit": "", "pool_timeout": "", "socket_timeout": "", "statement_cache_size": "",
	"single_use_connections":  "",
	"max_connection_lifetime": "", "max_idle_connection_lifetime": "", "sslidentity": "",
	"sslaccept": "sslmode=verify-full with sslrootcert checks the certificate",
	// node-postgres and hosting providers
	"uselibpqcompat": "", "supa": "", "workaround": "",
	// libpq
	"gssencmode": "", "gsslib": "", "gssdelegation": "", "sslcompression": "", "fallback_application_name": "",
	"load_balance_hosts": "", "keepalives": "", "keepalives_idle": "", "keepalives_interval": "", "keepalives_count": "",
}

// harmless are the values of foreign parameters that need no remedy.
var harmless = map[string]string{"schema": "public", "sslaccept": "accept_invalid_certs"}

func readConnection(text string) (*connectionString, error) {
	c := &connectionString{settings: map[string]string{}}
	text = strings.TrimLeft(text, " \t\r\n")
	err := errMarks
	rest, isURL := strings.CutPrefix(text, "postgres://")
	if !isURL {
		rest, isURL = strings.CutPrefix(text, "postgresql://")
	}
	if isURL {
		err = c.readURL(strings.TrimRight(rest, " \t\r\n"))
	} else if !strings.HasPrefix(text, `"`) && !strings.HasPrefix(text, "'") {
		err = c.readPairs(text)
	}
	if err != nil {
		return nil, err
	}
	return c, c.checkAddresses()
}

// readURL reads what follows the scheme: [user[:password]@]host[:port],…[/name][?name=value&…].
func (c *connectionString) readURL(rest string) error {
	end := strings.IndexAny(rest+"/", "/?#")
	authority, tail := rest[:end], rest[end:]
	userinfo, hosts, isUser := strings.Cut(authority, "@")
	if !isUser {
		userinfo, hosts = "", authority
	}
	path, query, isQuery := strings.Cut(tail, "?")
	name := strings.TrimPrefix(path, "/")
	if strings.ContainsAny(hosts+tail, "@#") || strings.ContainsAny(userinfo, "[]") || strings.Contains(name, "/") {
		return errEncode
	}
	user, password, _ := strings.Cut(userinfo, ":")
	for _, part := range []struct{ key, value string }{{"user", user}, {"password", password}, {"database", name}} {
		value, ok := decode(part.value)
		if !ok {
			return errEncode
		}
		if value != "" { // what is left out comes from the environment
			c.settings[part.key] = value
		}
	}
	err := c.readHosts(hosts)
	if err == nil {
		err = c.checkAddresses()
	}
	if err != nil || !isQuery {
		return err
	}
	c.nameless = !isUser // as in postgres://user:password, without a host
	return c.readQuery(query)
}

// decode replaces percent codes. Raw spaces and control characters have no place in a URL.
func decode(text string) (string, bool) {
	value, err := url.PathUnescape(text)
	raw := strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f })
	return value, err == nil && !raw && !strings.Contains(value, "\x00")
}

// readHosts reads the list of hosts and ports between @ and /.
func (c *connectionString) readHosts(list string) error {
	var hosts, ports []string
	for part := range strings.SplitSeq(list, ",") {
		host, port, _ := strings.Cut(part, ":")
		if inner, isIPv6 := strings.CutPrefix(part, "["); isIPv6 {
			var after string
			host, after, isIPv6 = strings.Cut(inner, "]")
			port, _ = strings.CutPrefix(after, ":")
			if address, ok := decode(host); !isIPv6 || !ok || !isAddress(address) || after != "" && after[0] != ':' {
				return errHost
			}
		} else if strings.Contains(port, ":") && isAddress(part) {
			return errHost
		}
		host, ok := decode(host)
		if !ok || strings.Contains(host, ",") {
			return errEncode
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	if list != "" {
		c.settings["host"] = strings.Join(hosts, ",")
	}
	if port := strings.Join(ports, ","); port != "" {
		c.settings["port"] = port
	}
	return nil
}

func (c *connectionString) readQuery(query string) error {
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		key, value, isPair := strings.Cut(pair, "=")
		if !isPair {
			return errPair
		}
		key, fine := decode(key)
		value, ok := decode(value)
		if !fine || !ok {
			return errEncode
		}
		if err := c.set(key, value, "%20"); err != nil {
			return err
		}
	}
	return nil
}

var (
	pairName = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*`)
	// pairValue is a value between quotes, or one that ends at a space; a backslash takes what
	// follows literally.
	pairValue = regexp.MustCompile(`^(?:'((?:[^'\\]|\\(?s:.))*)'(?:\s+|$)|` +
		`((?:[^\s'\\]|\\(?s:.))(?:[^\s\\]|\\(?s:.))*)?(?:\s+|$))`)
	escaped = regexp.MustCompile(`\\((?s:.))`)
)

// readPairs reads name=value name='value' …
func (c *connectionString) readPairs(text string) error {
	for text != "" {
		name := pairName.FindStringSubmatch(text)
		if name == nil {
			return errForm
		}
		text = text[len(name[0]):]
		value := pairValue.FindStringSubmatch(text)
		if value == nil || strings.Contains(value[0], "\x00") {
			return errForm
		}
		text = text[len(value[0]):]
		if err := c.set(name[1], escaped.ReplaceAllString(value[1]+value[2], "$1"), " "); err != nil {
			return err
		}
	}
	return nil
}

// set takes one parameter; space is how its form writes one.
func (c *connectionString) set(key, value, space string) error {
	lower := strings.ToLower(key) // the server's settings come in any case, such as TimeZone
	remedy, isForeign := foreign[key]
	switch {
	case key == "dbname":
		c.settings["database"] = value
	case key == "user" && value == "": // as the driver: the environment's
	case key == "ssl": // JDBC's
		if value != "true" {
			return errSSL
		}
		c.settings["sslmode"] = "require"
	case isForeign:
		c.ignored = append(c.ignored, key)
		if remedy != "" && value != "" && value != harmless[key] { // it asks for what is not so anyway
			c.remedies = append(c.remedies, remedy)
		}
	case slices.Contains(parameters, lower):
		c.settings[lower] = value
		c.nameless = c.nameless || strings.HasSuffix(lower, "password")
	case c.nameless || !hostName.MatchString(key):
		return errUnknown
	default:
		return fmt.Errorf("database: the parameter %[1]q is not known; remove it, or, if it is a setting of the server, "+
			"write options=-c%[2]s%[1]s=value", key, space)
	}
	return nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

func (c *connectionString) checkAddresses() error {
	for host := range strings.SplitSeq(c.settings["host"], ",") {
		if host != "" && host[0] != '/' && !hostName.MatchString(host) && !isAddress(host) {
			return errHost
		}
	}
	for port := range strings.SplitSeq(c.settings["port"], ",") {
		if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
			return errPort
		}
	}
	return nil
}

// text puts the settings together for the driver, but for one.
func (c *connectionString) text(without string) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(c.settings)) {
		if key != without {
			pairs = append(pairs, key+"='"+strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(c.settings[key])+"'")
		}
	}
	return strings.Join(pairs, " ")
}

// hints say what a parameter may be.
var hints = map[string]string{
	"sslmode":         "sslmode is disable, allow, prefer, require, verify-ca or verify-full",
	"port":            "a port for each host, or one for all",
	"connect_timeout": "connect_timeout is a number of seconds",
	"sslcert": "sslcert and sslkey are files with the client's certificate and its key, both or none; " +
		"the server's belongs into sslrootcert",
	"service":     "the file that servicefile or PGSERVICEFILE names must have a section of that name",
	"sslrootcert": "it names a file with certificates in PEM form, or is the word system",
}

// refusal finds the parameter that the driver refuses: without it there is no error. The
// driver's own error may hold any part of the string.
func (c *connectionString) refusal() error {
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(c.settings)), func(key string) bool { return key == "host" })
	for _, key := range append(keys, "host") { // without a host it is a socket's, and TLS is off
		if _, err := pgxpool.ParseConfig(c.text(key)); err == nil {
			hint := cmp.Or(hints[key], "see PostgreSQL's manual for what it may be")
			return fmt.Errorf("database: the parameter %s has a value that can't be used: %s", key, hint)
		}
	}
	return errors.New("database: the parameters can't be used together, or a variable such as PGSSLMODE or PGPORT " +
		"holds what can't be used; correct them")
}

// warnOfIgnored names once the parameters that make no difference.
func (c *connectionString) warnOfIgnored(log *slog.Logger) {
	if len(c.ignored) == 0 {
		return
	}
	slices.Sort(c.ignored)
	more := []any{"parameters", strings.Join(slices.Compact(c.ignored), ", ")}
	if len(c.remedies) > 0 {
		more = append(more, "instead", strings.Join(c.remedies, "; "))
	}
	log.Warn("database has parameters that Rollcall ignores", more...)
}

// Validate says what is wrong with a connection string.
func Validate(text string) error {
	_, _, err := poolConfig(text)
	return err
}

// poolConfig reads a connection string. Nothing is looked up or connected to.
func poolConfig(text string) (*pgxpool.Config, *connectionString, error) {
	c, err := readConnection(text)
	if err != nil {
		return nil, nil, err
	}
	cfg, err := pgxpool.ParseConfig(c.text(""))
	if err != nil {
		return nil, nil, c.refusal()
	}
	if c.settings["pool_max_conns"] == "" {
		cfg.MaxConns = DefaultConnections
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "rollcall"
	}
	if cfg.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		cfg.ConnConfig.DescriptionCacheCapacity = 0 // cache_describe alone uses it; it takes 24 kB for each connection
	}
	return cfg, c, nil
}

// addresses are the hosts and ports that are tried, each once.
func addresses(to *pgx.ConnConfig) (hosts, ports []string) {
	seen := map[string]bool{}
	for _, f := range append([]*pgconn.FallbackConfig{{Host: to.Host, Port: to.Port}}, to.Fallbacks...) {
		port := strconv.Itoa(int(f.Port))
		if at := f.Host + " " + port; !seen[at] {
			seen[at] = true
			hosts, ports = append(hosts, f.Host), append(ports, port)
		}
	}
	return hosts, ports
}
