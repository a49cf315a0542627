package config

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/robfig/cron/v3"

	"rollcall/internal/admission"
	"rollcall/internal/target"
)

// scalar fills a single value. A number may come as a text too: variables are texts.
func (d *decoder) scalar(n *node, to any, f field, path string) {
	value := n.text
	wanted := numbers[reflect.TypeOf(to).Elem()]
	if n.kind != number || wanted == "" {
		if !d.is(n, text, path, cmp.Or(wanted, oneOf(f.as), "a text (a number or true as text wants quotes)")) {
			return
		}
		var ok bool
		if value, ok = d.expand(n, path); !ok {
			return
		}
	}
	_, secret := to.(*Secret)
	if complaint := parse(to, value, f.as); complaint != "" {
		d.problems.Add(n.pos, "%s: %s %s", path, label(n, secret || f.as == "postgres"), complaint)
	}
}

// label is how a message calls a value. A variable is called by its name, and what
// may be a secret isn't repeated.
func label(n *node, secret bool) string {
	if m := variable.FindString(n.text); m != "" && m == n.text {
		return "the value of " + m
	}
	if secret {
		return "the value"
	}
	return strconv.Quote(n.text)
}

// texts fills a list of texts. A key may be a single text: most have one column.
func (d *decoder) texts(n *node, to *[]string, f field, path string) {
	items := []*node{n}
	if f.as != "column" || n.kind != text {
		if !d.filled(n, path) {
			return
		}
		items = n.items
	}
	for _, n := range items {
		var value string
		if d.element(n, &value, f, path) {
			at := item(path, len(*to))
			d.places[at], d.labels[at] = n.pos, label(n, false)
			*to = append(*to, value)
		}
	}
}

// origins fills a list of the names of sources.
func (d *decoder) origins(n *node, to *[]target.Origin, f field, path string) {
	var names []string
	d.texts(n, &names, f, path)
	for _, name := range names {
		*to = append(*to, target.Origin{Source: name})
	}
}

// secrets fills a list of secrets; signing secrets are split at |.
func (d *decoder) secrets(n *node, to *[]Secret, f field, path string) {
	if !d.filled(n, path) {
		return
	}
	for _, n := range n.items {
		var whole Secret
		if !d.element(n, &whole, f, path) {
			continue
		}
		parts := []string{whole.Reveal()}
		if f.as == "signing" {
			parts = split(whole.Reveal())
		}
		for _, part := range parts {
			at := item(path, len(*to))
			d.places[at], d.labels[at] = n.pos, label(n, true)
			*to = append(*to, NewSecret(part))
		}
	}
}

// tokens fills the admin tokens from a map of names.
func (d *decoder) tokens(n *node, to *[]AdminToken, f field, path string) {
	if !d.is(n, mapping, path, "a map of tokens by name, such as {alice: \"${ALICE_TOKEN}\"}") {
		return
	}
	for _, e := range n.entries {
		d.name(e, "token")
		at := join(path, e.key)
		d.places[at] = e.pos
		token := AdminToken{Name: e.key}
		d.scalar(e.value, &token.Token, f, at)
		*to = append(*to, token)
	}
}

// split takes signing secrets apart. White space around one is removed.
func split(value string) []string {
	parts := strings.Split(value, "|")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// filled reports whether the node is a list with something in it.
func (d *decoder) filled(n *node, path string) bool {
	if !d.is(n, list, path, "a list such as [a, b]") {
		return false
	}
	if len(n.items) == 0 {
		d.problems.Add(n.pos, "%s is empty; add an item, or leave it out", path)
	}
	return len(n.items) > 0
}

// element fills one item and reports whether it is good.
func (d *decoder) element(n *node, to any, f field, path string) bool {
	before := len(d.problems)
	d.scalar(n, to, f, path)
	filled := !reflect.ValueOf(to).Elem().IsZero() // else its variable may be unset
	return filled && n.kind == text && len(d.problems) == before
}

// numbers are what to write for the types of fields that may be YAML numbers.
var numbers = map[reflect.Type]string{
	reflect.TypeFor[int]():           "a whole number",
	reflect.TypeFor[int64]():         "a size such as 1MiB",
	reflect.TypeFor[float64]():       "a percentage such as 5%",
	reflect.TypeFor[time.Duration](): "a duration such as 4s or 7d",
}

// oneOf lists the words of a choice; "" where a tag names none.
func oneOf(as string) string {
	words := strings.Split(as, "|")
	last := len(words) - 1
	if last == 0 {
		return ""
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// parse stores a text in a field. The complaint continues "the value": what it is
// not, and what to write.
func parse(to any, value, as string) (complaint string) {
	if value == "" {
		return "is empty; give it a value, or leave it out"
	}
	switch to := to.(type) {
	case *string:
		*to = value
		if complaint = form(value, as); complaint != "" && (oneOf(as) != "" || as == "postgres") {
			*to = "" // what depends on it is not judged
		}
	case *Secret:
		*to = NewSecret(value)
		return form(value, as)
	case *int:
		*to, complaint = count(value)
	case *int64:
		*to, complaint = size(value)
	case *float64:
		*to, complaint = percent(value)
	case *time.Duration:
		*to, complaint = duration(value)
	}
	return complaint
}

func count(value string) (int, string) {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 1 {
		return 0, "is no whole number from 1 to 2147483647; write one"
	}
	return int(n), ""
}

var (
	sizeForm = regexp.MustCompile(`^([0-9]{1,18})(|B|KiB|MiB|GiB)$`)
	units    = map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
)

func size(value string) (int64, string) {
	m := sizeForm.FindStringSubmatch(value)
	if m == nil {
		return 0, "is no size; write 1MiB, 512KiB or a number of bytes"
	}
	n, _ := strconv.ParseInt(m[1], 10, 64) // at most 18 digits fit
	if n == 0 || n > math.MaxInt64/units[m[2]] {
		return 0, "is too small or too large for a size; write one such as 1MiB"
	}
	return n * units[m[2]], ""
}

// Percent reads a share as the configuration writes it, such as 5%, as a fraction.
func Percent(value string) (float64, error) {
	share, complaint := percent(value)
	if complaint != "" {
		return 0, fmt.Errorf("%q %s", value, complaint)
	}
	return share, nil
}

func percent(value string) (float64, string) {
	digits, ok := strings.CutSuffix(value, "%")
	n, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(n >= 0 && n <= 100) { // the negation refuses NaN too
		return 0, "is no percentage from 0% to 100%; write one such as 5%"
	}
	return n / 100, ""
}

// Moment reads a moment that a person writes: RFC 3339, a day, or a duration before now.
func Moment(value string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		// The zero time would mean no bound, and so every event.
		if at, err := time.Parse(layout, value); err == nil && !at.IsZero() {
			return at.UTC(), nil
		}
	}
	before, err := Duration(value)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no moment; write one such as 2026-11-21T03:00:00Z or 2026-11-21, or how long ago: 2h, 7d", value)
	}
	return now.Add(-before).UTC(), nil
}

// Duration reads a duration as the configuration writes it, such as 12h or 7d.
func Duration(value string) (time.Duration, error) {
	d, complaint := duration(value)
	if complaint != "" {
		return 0, fmt.Errorf("%q %s", value, complaint)
	}
	return d, nil
}

var daysForm = regexp.MustCompile(`^([0-9]{1,5})d(.*)$`)

// duration is Go's syntax with leading days: 7d, 1d12h.
func duration(value string) (time.Duration, string) {
	const complaint = "is no duration above zero; write it like 800ms, 4s, 12h or 7d"
	var days, rest time.Duration
	if m := daysForm.FindStringSubmatch(value); m != nil {
		n, _ := strconv.Atoi(m[1]) // at most 5 digits
		days, value = time.Duration(n)*24*time.Hour, m[2]
	}
	if value != "" {
		var err error
		if rest, err = time.ParseDuration(value); err != nil || rest < 0 {
			return 0, complaint
		}
	}
	// 99999 days fit into a Duration; with a rest they may not.
	if days+rest <= 0 {
		return 0, complaint
	}
	return days + rest, ""
}

// form checks a text against the form its tag names; words with | between are a choice.
func form(value, as string) (complaint string) {
	if check, ok := forms[as]; ok {
		return check(value)
	}
	words := strings.Split(as, "|")
	if len(words) == 1 || slices.Contains(words, value) {
		return ""
	}
	if meant := target.Nearest(value, words); meant != "" {
		return fmt.Sprintf("is not known here; did you mean %s? Write %s", meant, oneOf(as))
	}
	return "is not known here; write " + oneOf(as)
}

var forms = map[string]func(string) string{
	"address": address, "url": webURL, "origin": origin, "cron": schedule,
	"header": header, "table": table, "column": column, "postgres": postgres, "bearer": bearer, "host": host,
	"domain":  admission.Complaint,
	"channel": channel,
}

// minToken is the shortest token that can't be guessed, in characters.
const minToken = 16

func bearer(value string) string {
	if utf8.RuneCountInString(value) < minToken {
		return fmt.Sprintf("is shorter than %d characters and can be guessed; "+
			"write a long random one, as openssl rand -hex 32 prints", minToken)
	}
	return ""
}

var hostForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

func host(value string) string {
	if !hostForm.MatchString(value) {
		return "is no host name; write it in lower case and without a port, such as rollcall.example.com"
	}
	return ""
}

func address(value string) string {
	_, port, err := net.SplitHostPort(value)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n > math.MaxUint16 {
		return "is no address to listen on; write host:port or :port with a port up to 65535"
	}
	return ""
}

func webURL(value string) string {
	u, err := url.Parse(value)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return "is no web address; write it like https://app.example.com/path"
	}
	return ""
}

func origin(value string) string {
	u, err := url.Parse(value)
	if err != nil || webURL(value) != "" || u.Scheme+"://"+u.Host != value {
		return "is no origin; write scheme, host and port only, like https://app.example.com"
	}
	usual := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	if strings.ToLower(value) != value || strings.HasSuffix(value, usual) {
		return "is not as browsers send it: in lower case, and without the usual port " + usual[1:]
	}
	return ""
}

func schedule(value string) string {
	if n := len(strings.Fields(value)); n != 5 {
		return fmt.Sprintf("has %d fields; a schedule has five: minute, hour, day, month, weekday, like \"0 3 * * *\"", n)
	}
	times, err := cron.ParseStandard(value) // as the one who runs it does
	if err != nil {
		return fmt.Sprintf("is no schedule (%s); write minute, hour, day, month, weekday with * or numbers, like \"0 3 * * *\"", err)
	}
	if times.Next(time.Now().UTC()).IsZero() {
		return "names a day that never comes; write minute, hour, day, month, weekday, like \"0 3 * * *\""
	}
	return ""
}

var headerForm = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

func header(value string) string {
	if !headerForm.MatchString(value) {
		return "is no name of an HTTP header; use letters, digits and -"
	}
	return ""
}

func table(value string) string {
	parts := strings.Split(value, ".")
	if len(parts) > 2 || parts[0] == "" || parts[len(parts)-1] == "" {
		return "is no table; write schema.table, or table for one in public"
	}
	return column(value)
}

func column(value string) string {
	if strings.Contains(value, `"`) {
		return "holds double quotes; write the name exactly as in the catalog, without quotes"
	}
	if strings.ContainsFunc(value, unicode.IsControl) {
		return "holds a control character, such as a line break"
	}
	return ""
}

// postgres is a superficial look: the driver parses it, but names no line.
func postgres(value string) string {
	if strings.HasPrefix(value, "postgres://") || strings.HasPrefix(value, "postgresql://") || strings.Contains(value, "=") {
		return ""
	}
	return "is no connection string; write postgres://user:password@host:5432/database or host=… dbname=…"
}
