package proxy

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// budgets remember what registries say of how much they may be asked: Docker Hub's pull limit, and everybody's Retry-After.
type budgets struct {
	mu sync.Mutex
	of map[string]budget // by registry
}

type budget struct {
	limit, left int       // manifests; limit 0 where the registry has none or does not say
	rest        time.Time // asked to come back no earlier
	ours        time.Time // when this was last said to our own credential
}

// reserve is the share of a pull limit, in percent, that is left alone while something older can be served instead.
const reserve = 10

// longestRest bounds what a Retry-After can ask of us.
const longestRest = time.Hour

// accountCounts is for how long after an answer to our credential what is said to others, of their own limits, is not listened to.
const accountCounts = 10 * time.Minute

// ofOneAccount tells whether what an answer says of limits is about an account of the client's own, and nobody else's business. An
// anonymous token has no subject at Docker Hub, "(anonymous)" at quay.io; Docker Hub also names whom it has counted, an address or an
// account. Of a token that cannot be read nothing is known, and it counts as everybody's.
func ofOneAccount(resp *http.Response) bool {
	if by := resp.Header.Get("Docker-Ratelimit-Source"); by != "" {
		_, err := netip.ParseAddr(by)
		return err != nil
	}
	if _, _, basic := resp.Request.BasicAuth(); basic {
		return true
	}
	for c := range claimsIn(resp.Request.Header) {
		if c.Sub != "" && c.Sub != "(anonymous)" {
			return true
		}
	}
	return false
}

// note takes in the fields of an answer, to our own credential or to somebody else.
func (b *budgets) note(registry string, own bool, resp *http.Response, now time.Time) {
	limit, okLimit := firstNumber(resp.Header.Get("Ratelimit-Limit"))
	left, okLeft := firstNumber(resp.Header.Get("Ratelimit-Remaining"))
	rest, okRest := retryAfter(resp, now)
	if !(okLimit && okLeft) && !okRest {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = map[string]budget{}
	}
	had := b.of[registry]
	if own {
		had.ours = now
	} else if now.Sub(had.ours) < accountCounts {
		return
	}
	if okLimit && okLeft {
		had.limit, had.left = limit, left
	}
	if okRest {
		had.rest = now.Add(min(rest, longestRest))
	}
	b.of[registry] = had
}

// resting tells whether the registry asked to be left alone for now.
func (b *budgets) resting(registry string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return now.Before(b.of[registry].rest)
}

// scarce tells whether so little of the registry's limit is left that what is held should be served before it is spent.
func (b *budgets) scarce(registry string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	had := b.of[registry]
	return had.limit > 0 && had.left*100 < had.limit*reserve
}

// each calls f for every registry that has told a limit.
func (b *budgets) each(f func(registry string, left int)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for registry, had := range b.of {
		if had.limit > 0 {
			f(registry, had.left)
		}
	}
}

// firstNumber reads "100;w=21600" (Docker Hub's fields, after draft-polli-ratelimit-headers).
func firstNumber(field string) (int, bool) {
	text, _, _ := strings.Cut(field, ";")
	n, err := strconv.Atoi(strings.TrimSpace(text))
	return n, err == nil && n >= 0
}

// retryAfter reads Retry-After, seconds or a date, of the answers that use it to send clients away (RFC 9110, section 10.2.3).
func retryAfter(resp *http.Response, now time.Time) (time.Duration, bool) {
	field := resp.Header.Get("Retry-After")
	if field == "" || resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0, false
	}
	if n, err := strconv.Atoi(field); err == nil && n >= 0 {
		return time.Duration(min(n, int(longestRest/time.Second))) * time.Second, true
	}
	if t, err := http.ParseTime(field); err == nil {
		return max(0, t.Sub(now)), true
	}
	return 0, false
}
