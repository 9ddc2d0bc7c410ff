package proxy

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guardAdmin decides who may do what at the admin door. Whether we live and are ready is for everybody: probes have no password. The
// rest needs the password where there is one, and else has to come from this machine, but for the metrics, which Prometheus reads from
// elsewhere, and which then name no registry of the operator's own. Who can read the token in the data directory owns all that is guarded here, and is let in.
func (s *Server) guardAdmin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/healthz" || r.URL.Path == "/readyz" || s.ownsData(r):
		case s.admins.users.Load() != nil:
			if !s.adminLogin(w, r) {
				return
			}
		case r.URL.Path == "/metrics":
		case !fromHere(r):
			http.Error(w, "beyond this machine the admin door answers /healthz, /readyz and /metrics only: give it a password with --admin-htpasswd", http.StatusForbidden)
			return
		case !namesHere(r.Host):
			// Somebody's page may have a name that leads to 127.0.0.1, and be of one origin with us in a browser's eyes.
			http.Error(w, "the admin door has no password and is not known by this name: ask for it by localhost or by its address", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// adminLogin answers when it says no.
func (s *Server) adminLogin(w http.ResponseWriter, r *http.Request) bool {
	name, password, ok := passwordIn(r.Header, "Authorization")
	var err error
	if ok {
		ok, err = s.admins.check(r.Context(), clientOf(r), name, password)
		if !ok {
			s.log.Warn().Str("door", "admin").Str("client", clientOf(r)).Err(err).Msg("login refused: name or password is not right")
		}
	}
	switch {
	case err != nil:
		w.Header().Set("Retry-After", "5")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case !ok:
		w.Header().Set("Www-Authenticate", basicChallenge)
		http.Error(w, "the admin door asks for a name and a password of --admin-htpasswd", http.StatusUnauthorized)
	}
	return ok
}

func (s *Server) ownsData(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && s.cfg.AdminToken != "" && subtle.ConstantTimeCompare([]byte(token), []byte(s.cfg.AdminToken)) == 1
}

// fromHere tells whether a program of this machine asks.
func fromHere(r *http.Request) bool {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	return err != nil || ap.Addr().Unmap().IsLoopback() // not IP: a Unix socket
}

// namesHere tells whether a Host field has an address, or the one name that leads to this machine everywhere.
func namesHere(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || strings.EqualFold(host, "localhost")
}
