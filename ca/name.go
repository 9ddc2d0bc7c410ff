package ca

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

const (
	maxName  = 253 // RFC 1035, without the dot at the end
	maxLabel = 63
	maxShown = 80 // a name in an error came from a stranger and may be long
)

// parseName judges a host name from the network and returns the form that
// certificates carry and the cache is keyed by: lower case, without the dot at
// the end, an IP address in its canonical form without brackets.
func parseName(name string) (string, error) {
	host, err := canonicalName(name)
	if err != nil {
		if len(name) > maxShown {
			name = name[:maxShown] + "…"
		}
		return "", fmt.Errorf("make certificate for %q: %w", name, err)
	}
	return host, nil
}

func canonicalName(name string) (string, error) {
	if ip, ok := literal(name); ok {
		if ip.Zone() != "" {
			return "", errors.New("an IP address with a zone cannot stand in a certificate; drop the part behind %")
		}
		return ip.Unmap().String(), nil
	}
	host := strings.TrimSuffix(name, ".")
	if host == "" {
		return "", errors.New("the name is empty; the client must send a host name (SNI)")
	}
	if len(host) > maxName {
		return "", fmt.Errorf("the name is too long (got %d bytes, want at most %d); ask for a shorter one", len(host), maxName)
	}
	if err := checkLabels(host); err != nil {
		return "", err
	}
	// Only now: lower-casing turns some letters outside ASCII into ASCII, such
	// as the Kelvin sign into a k.
	return strings.ToLower(host), nil
}

// literal reads an IP address, with or without the brackets of a URL.
func literal(name string) (netip.Addr, bool) {
	inner, bracketed := strings.CutPrefix(name, "[")
	if bracketed {
		inner, bracketed = strings.CutSuffix(inner, "]")
		if !bracketed {
			return netip.Addr{}, false
		}
	}
	ip, err := netip.ParseAddr(inner)
	return ip, err == nil && (ip.Is6() || inner == name)
}

func checkLabels(host string) error {
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if err := checkLabel(label); err != nil {
			return err
		}
	}
	// A last label of digits alone is an IPv4 address gone wrong ("10.0.1"):
	// some clients would read it as an address that we never checked.
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return errors.New("the name ends in a number but is no IP address; want four numbers or a domain")
	}
	return nil
}

func checkLabel(label string) error {
	switch {
	case label == "":
		return errors.New("the name has an empty label; want one dot between labels")
	case len(label) > maxLabel:
		return fmt.Errorf("a label is too long (got %d bytes, want at most %d); ask for a shorter one", len(label), maxLabel)
	case label == "*":
		return errors.New("wildcards are not signed; ask for each host by its own name")
	case label[0] == '-' || label[len(label)-1] == '-':
		return errors.New("a label begins or ends with a hyphen; want a letter or digit there")
	}
	for i := range len(label) {
		if !nameByte(label[i]) {
			return fmt.Errorf("byte %q does not belong in a host name; want letters, digits, hyphens and dots (other scripts as xn--…)", label[i])
		}
	}
	return nil
}

// nameByte allows the underscore too: container networks and compose files are
// full of such names, and Go, OpenSSL and GnuTLS accept it in a SAN.
func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}
