package proxy

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// waits are how long clients wait for the header of an answer. containerd gives up after 30 s; a client of a mirror has somewhere
// else to go, and should be told so before it loses patience with the mirror for good.
type waits struct {
	whole  time.Duration // for the header, whatever has to be asked for it
	mirror time.Duration // for each exchange with upstream, by the mirror door
	ping   time.Duration // for that of a ping: dockerd waits 15 s for the one that begins a pull, and sends no second one
}

func usualWaits() waits { return waits{24 * time.Second, 2800 * time.Millisecond, 8 * time.Second} }

var errImpatient = errors.New("upstream takes too long to answer: the transfer goes on, try again in a moment")

// exchange is how long upstream may be silent to a question of q; zero is the upstream client's default.
func (p waits) exchange(q *request) time.Duration {
	switch {
	case q.door == doorMirror:
		return p.mirror
	case q.kind == kindPing:
		return p.ping
	}
	return 0
}

// opening is how long a client waits for the header of a transfer. The transfer itself has the upstream client's patience, whoever began
// it: otherwise what comes from a slow storage would never be kept for those who come by the mirror.
func (p waits) opening(q *request) time.Duration {
	if q.door == doorMirror {
		return p.mirror
	}
	return p.whole
}

// limit gives r a context that ends when the client has waited so long for a header, unless settle is called before. done frees it.
func limit(r *http.Request, wait time.Duration) (_ *http.Request, settle, done func()) {
	ctx, cancel := context.WithCancelCause(r.Context())
	timer := time.AfterFunc(wait, func() { cancel(errImpatient) })
	return r.WithContext(ctx), func() { timer.Stop() }, func() {
		timer.Stop()
		cancel(nil)
	}
}
