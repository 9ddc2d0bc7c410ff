package hosts

import (
	"fmt"
	"strings"
)

// Mode is what happens to a connection that is meant for a registry.
type Mode int

const (
	// Cache opens the connection and answers from the cache where it can.
	Cache Mode = iota
	// Tunnel passes the bytes on untouched and unseen.
	Tunnel
	// Refuse answers with an error and asks nobody.
	Refuse
)

// String returns the word that ParseMode understands.
func (m Mode) String() string {
	switch m {
	case Cache:
		return "cache"
	case Tunnel:
		return "tunnel"
	case Refuse:
		return "refuse"
	}
	return fmt.Sprintf("Mode(%d)", int(m))
}

// ParseMode reads "cache", "tunnel" or "refuse", in any case.
func ParseMode(s string) (Mode, error) {
	for m := Cache; m <= Refuse; m++ {
		if strings.EqualFold(s, m.String()) {
			return m, nil
		}
	}
	return 0, fmt.Errorf("unknown mode %q: write cache, tunnel or refuse", s)
}
