package proxy

import "strings"

// The grammar of names and tags (OCI distribution-spec, "Pulling manifests"), by hand: as regular expressions the two took a seventh
// of a hit's time. A fuzz test compares them with the specification's own text.

const (
	maxName = 255
	maxTag  = 128
)

// validName judges a repository's name: runs of a-z and 0-9, with a slash or one of the separators ".", "_", "__" and any number of
// dashes between each two.
func validName(s string) bool {
	if len(s) > maxName {
		return false
	}
	for {
		n := len(s) - len(strings.TrimLeft(s, lowerAndDigits))
		if n == 0 || n == len(s) {
			return n > 0
		}
		s = s[n:]
		if n = separator(s); n == 0 {
			return false
		}
		s = s[n:]
	}
}

const lowerAndDigits = "abcdefghijklmnopqrstuvwxyz0123456789"

// separator is the length of what s begins with, if that may stand between two runs.
func separator(s string) int {
	switch {
	case s[0] == '/', s[0] == '.':
		return 1
	case strings.HasPrefix(s, "__"):
		return 2
	case s[0] == '_':
		return 1
	}
	return len(s) - len(strings.TrimLeft(s, "-"))
}

// validTag judges a tag: letters, digits, dots, dashes and underscores, of which dots and dashes cannot come first.
func validTag(s string) bool {
	if s == "" || len(s) > maxTag || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
