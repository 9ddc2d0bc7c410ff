package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/proxy/http1"
)

// ServeHTTP is the whole of what happens to a request, in the order and with the numbers of docs/request-handling.md, which is the
// truth where the two disagree.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	conn := r.Context().Value(wireKey{}).(*wire)
	if r.Method == http.MethodConnect { // 1
		s.serveConnect(rw, r)
		return
	}
	both := &exchange{
		request{door: conn.door, kind: kindOther},
		countingWriter{ResponseWriter: rw, secure: r.TLS != nil, watch: watch{patience: s.cfg.ReaderPatience}},
	}
	if _, own := rw.(*http1.Response); own {
		both.watch.patience = 0 // http1 has it itself
	}
	q, w := &both.request, &both.countingWriter
	q.began = s.now()
	defer s.finish(q, w, r, q.began)
	at, ok := s.crowd.enter(r.Context(), conn.network)
	if !ok {
		q.crowded(w, s.crowd.most)
		return
	}
	defer s.crowd.leave(at)
	if s.looped(r) { // 2
		q.refuse(w, http.StatusLoopDetected, codeDenied, loopMessage)
		return
	}
	if err := s.login(q, r, conn); err != nil { // 3
		q.refuseStranger(w, r, err)
		return
	}
	path, known, err := s.destination(q, r, conn) // 4
	if err != nil {
		s.refuseMalformed(q, w, err)
		return
	}
	if !known {
		s.serveNoRegistry(q, w, r, path)
		return
	}
	s.serveRegistry(q, w, r, path)
}

// exchange is a request and its answer, made by one allocation.
type exchange struct {
	request
	countingWriter
}

// serveRegistry is the list from where the registry is known.
func (s *Server) serveRegistry(q *request, w *countingWriter, r *http.Request, path string) {
	switch q.reg.Mode {
	case hosts.Refuse: // 5
		q.refuse(w, http.StatusForbidden, codeDenied, q.registry+" is refused by the configuration of this proxy")
		return
	case hosts.Tunnel: // 6
		s.pass(q, w, r, path)
		return
	}
	if q.reg.Name == defaultRegistry && q.door == doorMirror { // 7
		path = withLibrary(path)
	}
	if err := q.parseAPI(path); err != nil && (readOnly(r) || q.door == doorMirror) { // 8
		s.refuseMalformed(q, w, err)
		return
	}
	s.lend(q, r)
	switch {
	case q.kind == kindPing && q.door == doorMirror && readOnly(r): // 9
		q.outcome(w, cacheBypass)
		s.servePing(w)
	case !readOnly(r) && q.door == doorMirror: // 10
		w.Header().Set("Allow", "GET, HEAD")
		q.refuse(w, http.StatusMethodNotAllowed, codeUnsupported, "this mirror is read-only: push to "+q.registry+" itself")
	case !readOnly(r): // 11
		s.pass(q, w, r, path)
	case q.kind == kindManifest && q.byDigest(): // 12
		s.serveManifest(q, w, r)
	case q.kind == kindManifest: // 13
		s.serveTag(q, w, r)
	case q.kind == kindBlob: // 14
		s.serveBlob(q, w, r)
	default: // 15
		s.pass(q, w, r, path)
	}
}

// destination finds out which registry a request is for, by its door.
func (s *Server) destination(q *request, r *http.Request, conn *wire) (path string, known bool, err error) {
	t := s.table.Load()
	path = r.URL.Path
	switch {
	case r.URL.IsAbs() && q.door == doorProxy && conn.authority == "":
		q.host = r.URL.Host
	case conn.authority != "":
		if !sameAuthority(r.Host, conn.authority) {
			return "", false, &misdirected{r.Host, conn.authority}
		}
		q.host = conn.authority
	case q.door == doorHTTP:
		q.host = r.Host
	default: // the mirror, and the proxy's port used as one
		if !strings.Contains(path, "/v2") {
			return path, false, nil
		}
		q.door, q.anonymous = doorMirror, true
		if q.host, path, err = mirrored(t, r.URL); err != nil {
			return "", false, err
		}
	}
	q.registry = withoutUser(q.host)
	if q.reg, known = conn.lookup(t, q.host); !known {
		return path, false, nil
	}
	q.registry = q.reg.Name
	withoutOfflineToken(q, r)
	q.anonymous = (q.anonymous || q.door == doorHTTP) && r.Header.Get("Authorization") == ""
	if q.door == doorMirror && q.reg.Name == defaultRegistry {
		if host, unknown := unknownRegistry(t, path); unknown {
			q.host, q.registry = host, withoutUser(host)
			return path, false, nil
		}
	}
	return path, true, nil
}

// unknownRegistry finds a path that names a registry which is not configured: what looks like a host name cannot be the first
// element of a name on Docker Hub.
func unknownRegistry(t *hosts.Table, path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return "", false
	}
	first, _, found := strings.Cut(rest, "/")
	if !found || !strings.ContainsAny(first, ".:") {
		return "", false
	}
	_, known := t.Lookup(first)
	return first, !known
}

// misdirected is a request for another host than the connection was made for.
type misdirected struct{ asked, authority string }

func (m *misdirected) Error() string {
	return "this connection was made for " + m.authority + ", the request is for " + m.asked
}

// sameAuthority compares hosts, and leaves out the ports that clients leave out and the dot that some put behind a name.
func sameAuthority(a, b string) bool {
	if a == b {
		return true
	}
	trim := func(s string) string {
		s = strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(s), ":443"), ":80")
		return strings.TrimSuffix(s, ".")
	}
	return trim(a) == trim(b)
}

func (s *Server) refuseMalformed(q *request, w http.ResponseWriter, err error) {
	var m *malformed
	var other *misdirected
	switch {
	case errors.As(err, &m):
		q.refuse(w, http.StatusBadRequest, m.code, m.message)
	case errors.As(err, &other):
		q.refuse(w, http.StatusMisdirectedRequest, codeDenied, other.Error())
	default:
		q.refuse(w, http.StatusBadRequest, codeUnsupported, err.Error())
	}
}

// serveNoRegistry answers what is not for a registry: our own CA certificate, a plain HTTP request that the proxy passes on, and
// what cannot be served.
func (s *Server) serveNoRegistry(q *request, w *countingWriter, r *http.Request, path string) {
	switch {
	case asksForCA(r) && q.door != doorTLS:
		s.serveCA(q, w)
	case q.door == doorHTTP && s.cfg.AnswerACME != nil && s.cfg.AnswerACME(w, r):
	case r.URL.IsAbs() && q.door == doorProxy:
		s.passUnknown(q, w, r)
	case q.door == doorMirror && strings.HasPrefix(path, "/v2"), q.door == doorHTTP && plausibleHost(q.host) && strings.HasPrefix(path, "/v2"):
		q.refuse(w, http.StatusNotFound, codeNameUnknown, q.notConfigured())
	default:
		q.refuse(w, http.StatusNotFound, codeUnsupported,
			"this is entrepot, a cache for container registries: the registry API is below /v2/, the certificate of its CA is at /ca.crt")
	}
}

// notConfigured says of a host that is no registry of ours what can be done, if that is to add it.
func (q *request) notConfigured() string {
	if _, err := hosts.New([]hosts.Registry{{Name: q.registry}}); err != nil {
		return fmt.Sprintf("%.100q is not the name of a registry: want one such as quay.io or registry.example.com:5000", q.registry)
	}
	host, _, err := net.SplitHostPort(q.registry)
	if err != nil {
		host = q.registry
	}
	if _, err := netip.ParseAddr(host); err == nil && q.door == doorHTTP {
		return q.registry + " is an address: the http door of entrepot serves registries by their own names, which hosts files or DNS lead here"
	}
	return q.registry + " is not a configured registry: add it with --registry " + q.registry
}

// asksForCA tells whether the request is for our CA's certificate, which everybody may have: some need it before they can log in.
func asksForCA(r *http.Request) bool { return !r.URL.IsAbs() && r.URL.Path == "/ca.crt" && readOnly(r) }

func (s *Server) serveCA(q *request, w http.ResponseWriter) {
	q.outcome(w, cacheBypass)
	w.Header().Set("Content-Type", "application/x-pem-file")
	w.Header().Set("Content-Disposition", `attachment; filename="entrepot-ca.crt"`)
	w.Write(s.cfg.CA.RootPEM())
}

func (s *Server) servePing(w http.ResponseWriter) {
	const body = "{}"
	h := w.Header()
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	io.WriteString(w, body)
}

// crowded answers a client that has as much under way as one may have, and has waited. Not by a 429: that would end a pull of dockerd.
func (q *request) crowded(w http.ResponseWriter, most int) {
	w.Header().Set("Retry-After", "1")
	q.refuse(w, http.StatusServiceUnavailable, codeUnavailable, crowdedMessage(most))
}

func crowdedMessage(most int) string {
	return fmt.Sprintf("this client address has %d requests under way already, as many as --client-limit allows", most)
}

// looped tells whether a request has been here before. It has been when a name service leads a registry's name to us and upstream
// names are resolved by the same.
func (s *Server) looped(r *http.Request) bool {
	for _, v := range r.Header.Values("Via") {
		if strings.Contains(v, s.via) {
			return true
		}
	}
	return false
}

const loopMessage = "this request came back to entrepot that sent it: the registry's name leads here for entrepot itself too; " +
	"give it a name server that knows the real address with --resolver"
