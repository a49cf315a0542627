package event

import "strings"

// Mask leaves of an e-mail address (j…@e….com), or of another text (j…), what tells who a person is
// who knows it that it is this one; "" of none.
func Mask(text string) string {
	name, domain, mail := strings.Cut(text, "@")
	if !mail {
		return initial(text)
	}
	ending := ""
	if at := strings.LastIndex(domain, "."); at > 0 {
		ending = domain[at:]
	}
	return initial(name) + "@" + initial(domain) + ending
}

func initial(text string) string {
	for _, letter := range text {
		return string(letter) + "…"
	}
	return ""
}
