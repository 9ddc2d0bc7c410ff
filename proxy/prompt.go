package proxy

import (
	"errors"
	"io"
	"net/http"
	"os"
)

// prompt is a client's writer for a transfer that is under way: the header goes out before the first byte has come from upstream, and
// each byte as soon as it is here. Without it they wait in buffers until there are some kilobytes, or until a client such as
// containerd has lost patience.
type prompt struct{ *countingWriter }

// WriteHeader implements http.ResponseWriter.
func (p prompt) WriteHeader(status int) {
	p.countingWriter.WriteHeader(status)
	p.flush()
}

func (p prompt) Write(b []byte) (int, error) {
	n, err := p.countingWriter.Write(b)
	p.flush()
	return n, err
}

// sender is a file that is still growing.
type sender interface {
	SendTo(w io.ReaderFrom, most int64) (int64, error)
}

// ReadFrom implements io.ReaderFrom. By plain HTTP the kernel copies what is there each time. What it cannot is read, see
// [bigPieces.ReadFrom].
func (p prompt) ReadFrom(r io.Reader) (sent int64, err error) {
	part, ok := r.(*io.LimitedReader)
	if !ok || !p.plain() {
		return copyPieces(p, p.pieces(), r)
	}
	if file, ok := part.R.(sender); ok {
		sent, err = file.SendTo(p.countingWriter, part.N)
		part.N -= sent
		if part.N == 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			return sent, err
		}
		p.gone = false
	}
	more, err := copyPieces(p, p.pieces(), r)
	return sent + more, err
}

func (p prompt) flush() { http.NewResponseController(p.ResponseWriter).Flush() } // an error shows at the next write
