package proxy

import (
	"io"
	"net/http"
	"sync/atomic"
)

// upload is the body of a push. When it breaks off, the way to the registry fails with it, and only the body knows that this was not
// the registry's fault.
type upload struct {
	io.ReadCloser
	closed atomic.Bool
	broken atomic.Bool
}

// watchUpload returns r with an upload for its body. It is a copy, since net/http looks at the body of its own to tell whether the
// client still waits for "100 Continue".
func watchUpload(r *http.Request) (*http.Request, *upload) {
	u := &upload{ReadCloser: r.Body}
	r = r.WithContext(r.Context())
	r.Body = u
	return r, u
}

// Read implements io.Reader. What fails after Close says nothing: a registry that hangs up has the body closed under its reader.
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	if err != nil && err != io.EOF && !u.closed.Load() {
		u.broken.Store(true)
	}
	return n, err
}

// Close implements io.Closer.
func (u *upload) Close() error {
	u.closed.Store(true)
	return u.ReadCloser.Close()
}

// brokenOff tells whether the request was a push that its client did not send to its end.
func (q *request) brokenOff() bool { return q.upload != nil && q.upload.broken.Load() }
