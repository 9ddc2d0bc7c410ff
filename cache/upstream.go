package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Stream is an upstream body on its way. Who got it closes Body.
type Stream struct {
	Body      io.ReadCloser
	Offset    int64  // where in the object Body begins: what was asked for, or 0 when upstream ignores ranges
	Part      bool   // Body ends where the caller said, or with the object; false when upstream ignores ranges
	Size      int64  // of the whole object, -1 when upstream does not say
	MediaType string // upstream's Content-Type
}

// Fetch opens an object at upstream from byte from up to but not including to, or to its end when to is -1. It is called again
// with a later from to go on where a transfer broke, from several goroutines and also when its first caller has left; it must not
// depend on the order of its calls. The ctx covers the whole body: when it ends, a Read of Body must return.
//
// An error may be [ErrRange], when upstream says that the object has no byte at from, or may be [Personal].
type Fetch func(ctx context.Context, from, to int64) (*Stream, error)

// Source is a caller's way to upstream.
type Source struct {
	Fetch Fetch

	// Parallel is over how many connections at once an object may be fetched; 0 is one. More of them help where upstream holds
	// each connection to a rate of its own, and each costs upstream more requests.
	Parallel int
}

// Personal tells whether err concerns only the one who asked, such as a refused credential: then others may have more luck. An
// error says so by a method Personal() bool.
func Personal(err error) bool {
	var p interface{ Personal() bool }
	return errors.As(err, &p) && p.Personal()
}

// ErrMismatch is the error of content that is not what its digest or its size says. Nothing of it is kept.
var ErrMismatch = errors.New("content does not match")

// ErrRange is what a [Fetch] returns when upstream's object ends before from (HTTP status 416): a partial that is longer than that
// is worth nothing.
var ErrRange = errors.New("upstream has no such range")

// errIdle ends a body that brought no byte for too long.
var errIdle = errors.New("no byte from upstream for too long")

// A break is mended by asking again from where it broke. Without one new byte this often, upstream is believed to be gone.
const (
	maxBarrenTries = 5
	firstPause     = 100 * time.Millisecond
	longestPause   = 5 * time.Second
)

// body is a Stream with an idle timeout, and with one Close for all that belongs to it.
type body struct {
	*Stream
	ctx    context.Context
	cancel context.CancelCauseFunc
	idle   *time.Timer
	limit  time.Duration
	pos    int64 // in the object, of the next byte
}

// request asks upstream for from to to. The answer may begin earlier, see [body.skip], but not later.
func (s *Store) request(ctx context.Context, d Digest, fetch Fetch, from, to int64) (*body, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	st, err := fetch(ctx, from, to)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	b := &body{Stream: st, ctx: ctx, cancel: cancel, limit: s.idle, pos: st.Offset}
	b.idle = time.AfterFunc(b.limit, func() { cancel(errIdle) })
	b.idle.Stop()
	if st.Offset < 0 || st.Offset > from {
		b.Close()
		return nil, fmt.Errorf("fetch %s: upstream began at byte %d, want %d", d, st.Offset, from)
	}
	return b, nil
}

// Read lets the clock run only while it waits for upstream; how slow the taker is does not matter.
func (b *body) Read(p []byte) (int, error) {
	b.idle.Reset(b.limit)
	n, err := b.Body.Read(p)
	b.idle.Stop()
	b.pos += int64(n)
	if err != nil && err != io.EOF && context.Cause(b.ctx) == errIdle {
		err = fmt.Errorf("%w (%v)", errIdle, b.limit)
	}
	return n, err
}

// skip reads on to pos, over what a server that knows no ranges sends again.
func (b *body) skip(pos int64) error {
	_, err := io.CopyN(io.Discard, b, pos-b.pos)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("skip to byte %d: %w", pos, err)
	}
	return nil
}

func (b *body) Close() error {
	b.idle.Stop()
	b.cancel(nil)
	return b.Body.Close()
}

// pause waits before the next try.
func pause(ctx context.Context, d time.Duration) error {
	return sleep(ctx, min(d, longestPause))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
