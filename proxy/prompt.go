package proxy

import (
	"io"
	"net/http"
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

// ReadFrom implements io.ReaderFrom. There is nothing that the kernel could copy by itself.
func (p prompt) ReadFrom(r io.Reader) (int64, error) {
	return copyPieces(p, r)
}

func (p prompt) flush() { http.NewResponseController(p.ResponseWriter).Flush() } // an error shows at the next write
