package admission

import (
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// names makes domains comparable: lower case, ASCII (xn--…), as a mail server looks them up. What no host may be
// called is an error.
var names = idna.New(
	idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.ValidateLabels(true),
	idna.VerifyDNSLength(true), idna.Transitional(false),
)

// canonical is the form of a domain that is compared. A second pass must change nothing: some texts that are no
// names become one whose own form is another, or none.
func canonical(domain string) (string, bool) {
	ascii, err := names.ToASCII(domain)
	ascii = strings.TrimSuffix(ascii, ".") // of the root, which changes nothing
	if err != nil || ascii == "" || strings.HasSuffix(ascii, ".") || !utf8.ValidString(domain) {
		return "", false
	}
	again, err := names.ToASCII(ascii)
	return ascii, err == nil && again == ascii
}

// maxAddress is the longest address that is read, in bytes. SMTP takes 254.
const maxAddress = 1024

// domainOf is the domain of an e-mail address in the form that is compared. It is not ok for what SMTP would
// not take as one address: then it is not known which domain would get the mail.
func domainOf(address string) (domain string, ok bool) {
	at := strings.LastIndexByte(address, '@')
	if at < 1 || len(address) > maxAddress || !isLocal(address[:at]) {
		return "", false
	}
	return canonical(address[at+1:])
}

// isLocal reports whether a text can be the part of an address before the @: a quoted text, or one without the
// marks that a name or a second address beside it would have.
func isLocal(local string) bool {
	inner, quoted := strings.CutPrefix(local, `"`)
	if !quoted {
		return !strings.ContainsFunc(local, func(r rune) bool {
			return r <= ' ' || r == 0x7f || strings.ContainsRune(`"(),:;<>@[\]`, r)
		})
	}
	for at := 0; at < len(inner); at++ {
		switch c := inner[at]; {
		case c < ' ' || c == 0x7f:
			return false
		case c == '\\':
			at++
		case c == '"':
			return at == len(inner)-1
		}
	}
	return false
}

// errPattern says what an item of a list is to be.
var errPattern = errors.New("is no domain; write one such as example.com, or *.example.com for all below it")

// pattern is an item of a list: a domain, and whether it stands for the domain itself or for those below it.
type pattern struct {
	domain string
	below  bool
}

// parsePattern reads example.com, and *.example.com or .example.com.
func parsePattern(text string) (pattern, error) {
	rest, below := strings.CutPrefix(text, "*.")
	if !below {
		rest, below = strings.CutPrefix(text, ".")
	}
	domain, ok := canonical(rest)
	if !ok {
		return pattern{}, errPattern
	}
	return pattern{domain, below}, nil
}

// Complaint says what keeps a text from being an item of a list, or "".
func Complaint(text string) string {
	if _, err := parsePattern(text); err != nil {
		return err.Error()
	}
	return ""
}

// set is a list of domains. A name of a map covers itself (exact), or all names below it.
type set struct{ exact, below map[string]bool }

// setOf reads items that have no Complaint. In a list that denies, a domain covers the names below it as well.
func setOf(items []string, denies bool) *set {
	s := &set{exact: make(map[string]bool, len(items)), below: map[string]bool{}}
	for _, text := range items {
		p, err := parsePattern(text)
		switch {
		case err != nil: // the file's problems say so
		case p.below:
			s.below[p.domain] = true
		default:
			s.exact[p.domain] = true
			if denies {
				s.below[p.domain] = true
			}
		}
	}
	return s
}

// has reports whether a list covers a domain in its compared form.
func (s *set) has(domain string) bool {
	if s.exact[domain] {
		return true
	}
	for at := strings.IndexByte(domain, '.'); at >= 0; at = strings.IndexByte(domain, '.') {
		if domain = domain[at+1:]; s.below[domain] {
			return true
		}
	}
	return false
}
