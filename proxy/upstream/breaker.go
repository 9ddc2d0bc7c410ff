package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// breaker remembers which hosts do not answer, so that a dead one is found once and not waited for by each request anew. It opens
// at the first failure to get any answer; while it is open one request at a time may find out whether the host is back.
type breaker struct {
	mu   sync.Mutex
	down map[string]*outage // by host
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

// admit tells whether host may be asked now.
func (b *breaker) admit(host string, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.down[host]
	if !ok {
		return nil
	}
	if now.Before(o.retry) || o.trying {
		return fmt.Errorf("%w (%w)", errDown, o.cause)
	}
	o.trying = true
	return nil
}

// note takes in how an exchange with host ended. The end of the caller's own patience says nothing about the host, and neither does
// what this machine ran out of.
func (b *breaker) note(ctx context.Context, host string, err error, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, known := b.down[host]
	switch {
	case err == nil:
		delete(b.down, host)
	case ctx.Err() != nil, errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EADDRNOTAVAIL):
		if known {
			o.trying = false
		}
	case known:
		o.cause, o.trying = err, false
		o.pause = min(2*o.pause, longestOutage)
		o.retry = now.Add(o.pause)
	case len(b.down) < maxOutages:
		b.down[host] = &outage{cause: err, pause: firstOutage, retry: now.Add(firstOutage)}
	}
}

// open tells whether host is believed to be down.
func (b *breaker) open(host string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.down[host]
	return ok
}

// Down tells whether a host is believed to be down.
func (c *Client) Down(host string) bool { return c.breaker.open(host) }
