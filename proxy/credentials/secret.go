package credentials

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
)

// Secret is a credential itself. However it is printed, by fmt, as JSON, in the words of a panic, it says nothing of what it is.
// Two that are equal are the same credential.
type Secret struct {
	username, password string
	identity           string // Docker's identity token, which OAuth 2 calls a refresh token, in place of the other two
	bearer             string // Docker's registry token, for the registry itself, in place of the other three
}

// Basic is the field Authorization that says username and password (RFC 7617); "" for an identity token, which is for realms only, and
// for a registry token.
func (s Secret) Basic() string {
	if s.identity != "" || s.bearer != "" || s.username == "" && s.password == "" {
		return ""
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(s.username+":"+s.password))
}

// Bearer is the field Authorization that says a registry token (RFC 6750), "" where there is none.
func (s Secret) Bearer() string {
	if s.bearer == "" {
		return ""
	}
	return "Bearer " + s.bearer
}

// Identity is the identity token, "" where there is a password.
func (s Secret) Identity() string { return s.identity }

const hidden = "(a secret)"

// Format implements fmt.Formatter, which comes before every other way in which fmt prints a value.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Key tells secrets apart without telling them, for tables and for questions that are shared.
func (s Secret) Key() string {
	sum := sha256.New()
	for _, part := range []string{s.username, s.password, s.identity, s.bearer} {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return string(sum.Sum(nil))
}

// IsZero tells whether s is none.
func (s Secret) IsZero() bool { return s == Secret{} }
