package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/entrepot/entrepot/hosts"
)

// breaker remembers which hosts do not answer, so that a dead one is found once and not waited for by each request anew. It opens
// at the first failure to get any answer; while it is open one request at a time may find out whether the host is back.
type breaker struct {
	mu   sync.Mutex
	down map[string]*outage // by wayTo
}

// wayTo tells the ways to a host apart. What is refused or broken on one says nothing of the others: with plain HTTP to a registry's
// storage, or a redirect of another registry to a host that only this one may dial, somebody could else close the way for all.
func wayTo(r hosts.Registry, at *url.URL) string {
	return fmt.Sprint(at.Scheme, "://", at.Host, " ", r.CAFile, r.AllowNets)
}

type outage struct {
	cause  error
	pause  time.Duration // until the next try
	retry  time.Time
	trying bool
}

// A host that failed is tried again after firstOutage, then less and less often.
const (
	firstOutage   = 2 * time.Second
	longestOutage = 30 * time.Second
	maxOutages    = 4096
)

// errDown is the answer while a breaker is open; it wraps what the host failed with.
var errDown = errors.New("not asked: it gave no answer a moment ago")

// admit tells whether a host may be asked this way now.
func (b *breaker) admit(way string, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.down[way]
	if !ok {
		return nil
	}
	if now.Before(o.retry) || o.trying {
		return fmt.Errorf("%w (%w)", errDown, o.cause)
	}
	o.trying = true
	return nil
}

// note takes in how an exchange ended. The end of the caller's own patience says nothing about the host, and neither does
// what this machine ran out of.
func (b *breaker) note(ctx context.Context, way string, err error, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, known := b.down[way]
	switch {
	case err == nil:
		delete(b.down, way)
	case ctx.Err() != nil, errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EADDRNOTAVAIL):
		if known {
			o.trying = false
		}
	case known:
		o.cause, o.trying = err, false
		o.pause = min(2*o.pause, longestOutage)
		o.retry = now.Add(o.pause)
	case len(b.down) < maxOutages:
		b.down[way] = &outage{cause: err, pause: firstOutage, retry: now.Add(firstOutage)}
	}
}

// open tells whether a host is believed to be down.
func (b *breaker) open(way string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.down[way]
	return ok
}

// Down tells whether the API of a registry is believed to be down.
func (c *Client) Down(r hosts.Registry) bool { return c.breaker.open(wayTo(r, r.UpstreamURL(r.Name))) }
