package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
)

// ServeAdmin serves people, Prometheus and Kubernetes probes on l. It has a server of its own: nothing of it can be reached through
// the other doors. It goes on answering while transfers drain, so that a probe learns that this server is not ready any more.
func (s *Server) ServeAdmin(l net.Listener) error {
	srv := &http.Server{Handler: s.adminHandler(), ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: s.http.ErrorLog}
	s.mu.Lock()
	s.claim(l)
	s.mu.Unlock()
	s.spawn(l, func() {
		<-s.ctx.Done()
		srv.Close()
	})
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) && !s.isClosing() {
		return err
	}
	return nil
}

func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "the admin door of entrepot\n\n/healthz  whether it lives\n/readyz   whether it takes requests\n/metrics  for Prometheus\n")
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.Handle("GET /metrics", s.serveMetrics())
	mux.HandleFunc("POST /api/verify", s.serveVerify)
	// A page in somebody's browser must not be able to change anything here.
	return http.NewCrossOriginProtection().Handler(s.guardAdmin(mux))
}

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if s.isClosing() {
		http.Error(w, "shutting down", http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ready\n")
}
