package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
)

// credentialOf is where a client puts its name and password, and how it is asked for them: those of a proxy are no business of the
// server behind it (RFC 9110, section 11.7).
type credentialOf struct {
	field, challenge string
	status           int
	hint             string
}

var (
	toMirror = credentialOf{
		"Authorization", "Www-Authenticate", http.StatusUnauthorized,
		"this mirror asks for a name and a password of its own: log in to it as to a registry (docker login and its like)",
	}
	toProxy = credentialOf{
		"Proxy-Authorization", "Proxy-Authenticate", http.StatusProxyAuthRequired,
		"this proxy asks for a name and a password: give them in the address, as in HTTPS_PROXY=http://NAME:PASSWORD@host:3128",
	}
)

// basicChallenge asks for a name and a password (RFC 7617).
const basicChallenge = `Basic realm="entrepot", charset="UTF-8"`

// stranger is a caller who did not say who he is, or not truly.
type stranger struct {
	of      credentialOf
	brought bool // a credential, that is not right
	status  int
	code    string
	message string
}

func (s *stranger) Error() string { return s.message }

// locked tells whether the mirror and proxy doors ask who is there.
func (s *Server) locked() bool { return s.clients.users.Load() != nil || s.cfg.ClientCAs != nil }

// login finds out who a request is from, where that is asked. Inside a CONNECT it was asked before; the tls and http doors cannot
// ask, since their clients do not know that they are not at the registry. The error is a *stranger.
func (s *Server) login(q *request, r *http.Request, conn *wire) error {
	q.user = conn.user
	if conn.authority != "" || conn.door == doorTLS || conn.door == doorHTTP || !s.locked() || asksForCA(r) {
		return nil
	}
	of := toMirror
	if conn.door == doorProxy && r.URL.IsAbs() {
		of = toProxy
	}
	user, byPassword, err := s.identify(r.Context(), r, of)
	q.user, q.byPassword = user, byPassword && of == toMirror
	return err
}

// identify judges the caller by the certificate he showed, or the name and password in of's field. What was meant for us is taken
// out of the request, so that nothing behind this can send it on or take it for a credential of the registry's.
func (s *Server) identify(ctx context.Context, r *http.Request, of credentialOf) (user string, byPassword bool, err error) {
	name, password, basic := passwordIn(r.Header, of.field)
	user = certified(r.TLS)
	switch {
	case user != "" && (!basic || s.clients.users.Load() == nil):
		return user, false, nil
	case s.clients.users.Load() == nil:
		return "", false, &stranger{of, false, http.StatusForbidden, codeDenied, "only clients with a certificate of --client-ca are let in here: come by TLS and show one"}
	case !basic:
		return "", false, &stranger{of, false, of.status, codeUnauthorized, of.hint}
	}
	ok, err := s.clients.check(ctx, clientOf(r), name, password)
	switch {
	case err != nil:
		return "", false, &stranger{of, true, http.StatusServiceUnavailable, codeUnavailable, err.Error()}
	case !ok:
		return "", false, &stranger{of, true, of.status, codeUnauthorized, "name or password is not right: " + of.hint}
	}
	r.Header.Del(of.field)
	return name, true, nil
}

// passwordIn reads a name and a password from a field. Two fields are none: who reads the other one would see somebody else.
func passwordIn(h http.Header, field string) (name, password string, ok bool) {
	values := h.Values(field)
	if len(values) != 1 {
		return "", "", false
	}
	if field != "Authorization" {
		h = http.Header{"Authorization": values}
	}
	return (&http.Request{Header: h}).BasicAuth()
}

// certified is the name in a client's certificate, "" where it showed none. crypto/tls has verified it against --client-ca.
func certified(state *tls.ConnectionState) string {
	if state == nil || len(state.VerifiedChains) == 0 {
		return ""
	}
	c := state.VerifiedChains[0][0]
	switch {
	case c.Subject.CommonName != "":
		return c.Subject.CommonName
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	case len(c.EmailAddresses) > 0:
		return c.EmailAddresses[0]
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	}
	return "serial " + c.SerialNumber.String()
}

// header is the field that asks for what is missing; none where no password would help.
func (s *stranger) header() http.Header {
	h := http.Header{}
	switch s.status {
	case s.of.status:
		h.Set(s.of.challenge, basicChallenge)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "5")
	}
	return h
}

// refuseStranger answers. That somebody did not say yet who he is is no error: it is how every client begins.
func (q *request) refuseStranger(w http.ResponseWriter, r *http.Request, err error) {
	if r.URL.Path == "/v2/" {
		q.kind = kindPing
	}
	var s *stranger
	if !errors.As(err, &s) {
		q.refuse(w, http.StatusInternalServerError, codeUnavailable, err.Error())
		return
	}
	for name, values := range s.header() {
		w.Header()[name] = values
	}
	q.refuse(w, s.status, s.code, s.message)
	if !s.brought && s.status == s.of.status {
		q.err = nil
	}
}
