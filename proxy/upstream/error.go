package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

// Error is a question to which a registry gave no answer: no address, no connection, no trust, no header in time. It carries no
// URL, since the signed ones are secrets.
type Error struct {
	Registry string // whose business it was, "" for a host that is none's
	Host     string // who failed; after a redirect another one
	Err      error
}

func (e *Error) Error() string {
	if e.Registry == "" || e.Host == "" || e.Host == e.Registry {
		return fmt.Sprintf("ask %s: %v", cmp.Or(e.Registry, e.Host), plain(e.Err))
	}
	return fmt.Sprintf("ask %s for %s: %v", e.Host, e.Registry, plain(e.Err))
}

func (e *Error) Unwrap() error { return e.Err }

// Timeout tells whether upstream was silent rather than unwilling.
func (e *Error) Timeout() bool {
	var t net.Error
	return errors.As(e.Err, &t) && t.Timeout() || errors.Is(e.Err, os.ErrDeadlineExceeded) ||
		errors.Is(e.Err, context.DeadlineExceeded)
}

// plain keeps what net/http says of a failure and leaves its own Op and URL away.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" && op.Err != nil {
		return fmt.Errorf("dial %v: %w", op.Addr, op.Err)
	}
	return err
}
