package world

import "net/http"

// hooked is a ResponseWriter that lets somebody look at the header, and
// change it, before it goes out.
type hooked struct {
	http.ResponseWriter
	hook func(status int)
	sent bool
}

// onHeader calls hook once, right before the status line.
func onHeader(rw http.ResponseWriter, hook func(status int)) *hooked {
	return &hooked{ResponseWriter: rw, hook: hook}
}

func (h *hooked) WriteHeader(status int) {
	if h.sent {
		return
	}
	if status >= 200 {
		h.sent = true
		h.hook(status)
	}
	h.ResponseWriter.WriteHeader(status)
}

func (h *hooked) Write(p []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	return h.ResponseWriter.Write(p)
}

// FlushError lets http.ResponseController flush through the layers.
func (h *hooked) FlushError() error {
	h.WriteHeader(http.StatusOK)
	return http.NewResponseController(h.ResponseWriter).Flush()
}

// Flush is for those who ask for http.Flusher.
func (h *hooked) Flush() { _ = h.FlushError() } // errors show at the next write

// held is a ResponseWriter that keeps the whole answer. It is for small
// answers only: manifests, and probes.
type held struct {
	header http.Header
	status int
	body   []byte
}

func hold() *held { return &held{header: http.Header{}} }

func (h *held) Header() http.Header { return h.header }

func (h *held) WriteHeader(status int) {
	if h.status == 0 {
		h.status = status
	}
}

func (h *held) Write(p []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	h.body = append(h.body, p...)
	return len(p), nil
}

// send passes the kept answer on.
func (h *held) send(rw http.ResponseWriter) {
	for key, values := range h.header {
		rw.Header()[key] = values
	}
	rw.WriteHeader(max(h.status, http.StatusOK))
	if len(h.body) > 0 {
		_, _ = rw.Write(h.body) // a client that left needs no answer
	}
}
