package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The values of the settings, judged. Each parser answers with a fault, to which the caller adds what
// was got and where it was said.

// fault says what would have been right.
type fault struct{ want, hint string }

func (f fault) Error() string { return "want " + f.want }

// size is a number of bytes, or a share of the volume that the cache lies on.
type size struct {
	bytes   int64
	percent float64
}

func (s size) String() string {
	if s.percent > 0 {
		return fmt.Sprintf("%v%% of the volume", s.percent)
	}
	return humanBytes(float64(s.bytes))
}

var sizePattern = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([A-Za-z%]*)$`)

// units has no bare "G": docker means 1024³ by it and disks are sold by 1000³.
func units() map[string]float64 {
	return map[string]float64{
		"b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "pb": 1e15,
		"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40, "pib": 1 << 50,
	}
}

// largestSize leaves room for sums of sizes.
const largestSize = 1 << 62

func parseSize(text string) (size, error) {
	bad := fault{"a size such as 50GiB, or a share of the volume such as 80%", "units are kB MB GB TB (1000) and KiB MiB GiB TiB (1024)"}
	m := sizePattern.FindStringSubmatch(text)
	if m == nil {
		return size{}, bad
	}
	if isZero(m[1]) {
		return size{}, fault{"a size above 0, such as 50GiB, or a share of the volume such as 80%", "nothing could be kept in it"}
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // what is too many digits is infinite
		return size{}, bad
	}
	if m[2] == "%" {
		if n > 100 {
			return size{}, fault{"at most 100%", "a share is of the whole volume that the data directory lies on"}
		}
		return size{percent: n}, nil
	}
	unit, ok := units()[strings.ToLower(m[2])]
	if !ok || n*unit < 1 {
		return size{}, bad
	}
	if n*unit > largestSize {
		return size{}, fault{"at most 4096PiB", "it is too large: no volume holds as much"}
	}
	return size{bytes: int64(n * unit)}, nil
}

func isZero(number string) bool { return strings.Trim(number, "0.") == "" }

var daysPattern = regexp.MustCompile(`^([0-9]+)d(.*)$`)

// parseDuration reads Go's durations and days in front of them: 90s, 1h30m, 7d, 1d12h.
func parseDuration(text string) (time.Duration, error) {
	bad := fault{"a duration such as 90s, 10m, 12h or 7d", ""}
	rest, days := text, time.Duration(0)
	if m := daysPattern.FindStringSubmatch(text); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil || n > 36500 {
			return 0, bad
		}
		days, rest = time.Duration(n)*24*time.Hour, m[2]
		if rest == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		if _, numErr := strconv.Atoi(text); numErr == nil {
			bad.hint = fmt.Sprintf("a number needs its unit: %ss", text)
		}
		return 0, bad
	}
	if d < 0 {
		return 0, fault{"a duration that is not negative", ""}
	}
	return days + d, nil
}

// maxAuthTTL bounds for how long somebody whose right was taken away can go on.
const maxAuthTTL = 24 * time.Hour

func parseAuthTTL(text string) (time.Duration, error) {
	d, err := parseDuration(text)
	if err == nil && d > maxAuthTTL {
		return 0, fault{"at most 24h", "for so long somebody reads on whose right was taken away; while a registry cannot be asked, max-stale-auth counts"}
	}
	return d, err
}

// parseListen returns "" for a door that is off.
func parseListen(text string) (string, error) {
	if strings.EqualFold(text, "off") {
		return "", nil
	}
	bad := fault{`an address such as 127.0.0.1:3128 or :443, or "off"`, ""}
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		if _, numErr := strconv.ParseUint(text, 10, 16); numErr == nil {
			bad.hint = "a port alone is written with a colon: :" + text
		}
		return "", bad
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		bad.want = "a port from 0 to 65535 in the address"
		return "", bad
	}
	return text, nil
}

// parseNet reads a CIDR; a single address is the network of itself.
func parseNet(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fault{"a network such as 10.0.0.0/8 or fd00::/8, or one address", ""}
	}
	if p != p.Masked() {
		// 10.1.2.3/8 is either a slip or a misunderstanding; both are better found now.
		return p, fault{"a network without host bits", fmt.Sprintf("%s is the network, %s the single address", p.Masked(), p.Addr())}
	}
	return p, nil
}

// parsePort wants a port as a number: names of services differ from machine to machine.
func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fault{"a port from 1 to 65535", ""}
	}
	return uint16(n), nil
}

// parseCount wants at least one: none at all would be a door that is off.
func parseCount(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return 0, fault{"a number of at least 1", ""}
	}
	return int(n), nil
}

// parseResolver wants addresses: a name could not be looked up before there is a resolver.
func parseResolver(text string) error {
	if _, err := netip.ParseAddr(text); err == nil {
		return nil
	}
	if _, err := netip.ParseAddrPort(text); err == nil {
		return nil
	}
	return fault{"the address of a DNS server such as 1.1.1.1, 1.1.1.1:53 or [fd00::1]:53", "a name cannot be used here: nothing could look it up yet"}
}

// wantPath refuses what a shell would have made another path of. Taken as it is it would be a directory called ~ wherever the server
// happens to start; and whose home was meant is another matter for a service than for who wrote it down.
func wantPath(text string) error {
	if text == "~" || strings.HasPrefix(text, "~/") {
		return fault{"a path from / on", "~ is the shell's, and nothing here makes a home directory of it; what is really called so is ./" + text}
	}
	return nil
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fault{"true or false", ""}
}

// parseOneOf accepts exactly the words listed.
func parseOneOf(text string, words ...string) (string, error) {
	if !slices.Contains(words, text) {
		return "", fault{strings.Join(words, ", "), ""}
	}
	return text, nil
}

// masked hides a password in a URL. Every value that is shown to anybody goes through it, since a
// mistyped setting is a likely place for a secret to come out.
func masked(text string) string {
	scheme, rest, isURL := strings.Cut(text, "://")
	at := strings.LastIndex(rest, "@")
	if !isURL || at < 0 {
		return text
	}
	return scheme + "://***@" + rest[at+1:]
}
