package hosts

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// canonical returns a copy with every host in the form that the table compares,
// and Name among the hosts. The error holds everything that is wrong with it.
func (r Registry) canonical() (Registry, error) {
	r = r.clone()
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("registry %q: %w", r.Name, err))
		}
	}
	name, err := canonicalEntry(r.Name)
	check(in("name", err))
	check(in("host", canonicalEntries(r.Hosts)))
	check(in("realm", canonicalEntries(r.Realms)))
	upstream, err := canonicalUpstream(r.Upstream)
	check(in("upstream", err))
	check(r.checkRules())
	for _, err := range slices.Concat(r.checkTags(), r.checkCredentials()) {
		check(err)
	}
	if len(errs) > 0 {
		return Registry{}, errors.Join(errs...)
	}
	r.Name, r.Upstream = name, upstream
	if !slices.Contains(r.Hosts, name) {
		r.Hosts = append([]string{name}, r.Hosts...)
	}
	return r, nil
}

// in says which field an error is about.
func in(field string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %w", field, err)
}

func (r Registry) checkRules() error {
	switch {
	case r.Mode < Cache || r.Mode > Refuse:
		return fmt.Errorf("mode %d is unknown: write cache, tunnel or refuse", int(r.Mode))
	case slices.ContainsFunc(r.AllowNets, func(p netip.Prefix) bool { return !p.IsValid() }):
		return errors.New("allowed network is empty: write it as 10.0.0.0/8 or fd00::/8")
	case r.Parallel < 0 || r.Parallel > MaxParallel:
		return fmt.Errorf("parallel %d is not a number from 1 to %d", r.Parallel, MaxParallel)
	}
	return checkFreshness(r.ManifestTTL, r.MaxStale, r.WhenGone)
}

func canonicalEntries(list []string) error {
	for i, s := range list {
		entry, err := canonicalEntry(s)
		if err != nil {
			return err
		}
		list[i] = entry
	}
	return nil
}

// canonicalEntry judges one listed host or pattern.
func canonicalEntry(s string) (string, error) {
	if strings.Contains(s, "*") {
		p, ok := parsePattern(s)
		if !ok {
			return "", fmt.Errorf(`%q is not a pattern: "*" stands for whole labels before a fixed ending, write it as *.corp.example or *.reg.*.corp.example`, s)
		}
		return p.text, nil
	}
	if a, ok := parseAuthority(s); ok {
		return withoutHTTPS(a), nil
	}
	return "", fmt.Errorf("%q is not a host name: %s", s, hostHint(s))
}

// hostHint guesses what the writer meant.
func hostHint(s string) string {
	if u, err := url.Parse(s); err == nil && u.Host != "" {
		if a, ok := parseAuthority(u.Host); ok {
			return fmt.Sprintf("write %q, without scheme and path", a.key)
		}
	}
	if host, _, found := strings.Cut(s, "/"); found {
		if a, ok := parseAuthority(host); ok {
			return fmt.Sprintf("write %q, without the path", a.key)
		}
	}
	if strings.ContainsFunc(s, func(c rune) bool { return c > '~' }) {
		return "write an international name in its xn-- form"
	}
	return "write it as registry.example.com or registry.example.com:5000"
}

// canonicalUpstream judges a base URL. "" stays as it is.
func canonicalUpstream(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	const form = "write it as https://registry.example.com"
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Opaque != "" {
		if a, ok := parseAuthority(s); ok {
			return "", fmt.Errorf("%q has no scheme: write %q", s, "https://"+a.key)
		}
		return "", fmt.Errorf("%q is not a URL: %s", masked(s), form)
	}
	a, ok := parseAuthority(u.Host)
	if !ok {
		return "", fmt.Errorf("%q has no valid host name: %s", u.Redacted(), form)
	}
	base := (&url.URL{Scheme: u.Scheme, Host: a.key}).String()
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return "", fmt.Errorf("%q has the scheme %q: write %q, or http:// for a registry without TLS", u.Redacted(), u.Scheme, "https://"+a.key)
	case u.User != nil:
		return "", fmt.Errorf("%q holds credentials: write %q and configure them apart", u.Redacted(), base)
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		return "", fmt.Errorf("%q has a query or a fragment: write %q", u.Redacted(), base)
	case u.Path != "" && u.Path != "/":
		return "", fmt.Errorf("%q has a path: write %q, /v2/ is added to it", u.Redacted(), base)
	}
	return base, nil
}

// masked hides what could be a password in text that is not even a URL.
func masked(s string) string {
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		return "xxxxx" + s[at:]
	}
	return s
}
