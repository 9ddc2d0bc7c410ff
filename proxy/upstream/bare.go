package upstream

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Bare is the way to a registry's hosts without redirects and tokens: guarded dialling, verified TLS, the breaker, and q's patience,
// where a negative one has no end: for pushes, whose last answer can take minutes. Of q it needs Registry, Base and Kind.
func (c *Client) Bare(q Request) http.RoundTripper { return bare{c, q} }

type bare struct {
	c *Client
	q Request
}

// RoundTrip implements http.RoundTripper.
func (b bare) RoundTrip(req *http.Request) (*http.Response, error) {
	host, way := req.URL.Host, wayTo(b.q.Registry, req.URL)
	// A push that fails may do so by its own body: it neither opens the breaker nor asks it.
	if b.q.Patience >= 0 {
		if err := b.c.breaker.admit(way, b.c.now()); err != nil {
			return nil, &Error{Registry: b.q.Registry.Name, Host: host, Err: err}
		}
	}
	resp, err := b.exchange(req)
	if b.q.Patience >= 0 {
		b.c.breaker.note(req.Context(), way, err, b.c.now())
	}
	if b.c.cfg.Observe != nil {
		b.c.cfg.Observe(b.q, resp, err)
	}
	if err != nil {
		return nil, &Error{Registry: b.q.Registry.Name, Host: host, Err: err}
	}
	return resp, nil
}

// exchange is a round trip whose header must be in before patience ends; its body may take as long as it likes.
func (b bare) exchange(req *http.Request) (*http.Response, error) {
	transport, err := b.c.transport(b.q)
	if err != nil {
		return nil, err
	}
	if b.q.Patience < 0 {
		return transport.RoundTrip(req)
	}
	patience := b.q.Patience
	if patience == 0 {
		patience = headerTimeout
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(patience, func() { cancel(errSilent) })
	resp, err := transport.RoundTrip(req.WithContext(ctx))
	timer.Stop()
	if err != nil {
		if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) && b.c.ours(unknown.Cert) {
			err = errOwnCertificate
		}
		if errors.Is(context.Cause(ctx), errSilent) {
			err = fmt.Errorf("%w within %v", errSilent, patience)
		}
		cancel(nil)
		return nil, err
	}
	resp.Body = &endingBody{resp.Body, cancel}
	return resp, nil
}

var errSilent = silence{}

// silence is a host that does not answer in time.
type silence struct{}

func (silence) Error() string   { return "no answer" }
func (silence) Timeout() bool   { return true }
func (silence) Temporary() bool { return true }

// endingBody frees the exchange's context with the body.
type endingBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (b *endingBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
