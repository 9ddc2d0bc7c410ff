package proxy

import (
	"net"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/rs/zerolog"
)

// serverNoise takes what net/http says about broken clients: of interest to who debugs one, and to nobody else. One thing is of
// interest to everybody who sets up a client: that it does not trust our CA. Nothing else would tell, since no request ever comes.
type serverNoise struct {
	log    zerolog.Logger
	warned *mentions
}

const (
	warnEvery   = 10 * time.Minute
	wonderEvery = 24 * time.Hour // at what is no fault of most
	maxMentions = 1024
)

// mentions keeps the log from saying the same of a client at each connection: some try again every second.
type mentions struct {
	last  *lru.Cache[string, time.Time]
	every time.Duration
	now   func() time.Time
}

func newMentions(every time.Duration) *mentions {
	last, _ := lru.New[string, time.Time](maxMentions) // errs on a size below one only
	return &mentions{last, every, time.Now}
}

// due tells whether this was not said for a while, and takes it for said.
func (m *mentions) due(what string) bool {
	now := m.now()
	if last, ok := m.last.Get(what); ok && now.Sub(last) < m.every {
		return false
	}
	m.last.Add(what, now)
	return true
}

// doubts are how it looks from here when a client does not trust a certificate: by the alerts that Go, OpenSSL and others send. OpenSSL 3
// encrypts its alert in TLS 1.3 by a key that crypto/tls does not expect yet, so that it arrives as a damaged record.
var doubts = []string{
	"remote error: tls: bad certificate", "remote error: tls: unknown certificate", // and "unknown certificate authority"
	"local error: tls: bad record MAC",
}

// uncertified are what crypto/tls says of clients without a certificate, or with one that --client-ca does not cover.
var uncertified = []string{"tls: client didn't provide a certificate", "tls: failed to verify certificate"}

func newServerNoise(log zerolog.Logger) *serverNoise {
	return &serverNoise{log: log, warned: newMentions(warnEvery)}
}

func (n *serverNoise) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p))
	if client, ok := handshakeFailed(text, doubts); ok && n.warned.due(client) {
		n.log.Warn().Str("client", client).
			Msg("a client does not trust the CA of entrepot: give it the certificate, which GET /ca.crt serves and `entrepot ca show` names, and restart it")
	} else if client, ok := handshakeFailed(text, uncertified); ok && n.warned.due(client) {
		n.log.Warn().Str("client", client).Str("error", text).Msg("client refused: it shows no certificate of --client-ca")
	} else {
		n.log.Debug().Msg(text)
	}
	return len(p), nil
}

// mismatch says that a client spoke TLS to a door without, or the other way round. Most clients try TLS first at every pull and then go
// on, so it is at info once a day for each address and door, for who has a client that does not go on, and at debug else.
func (s *Server) mismatch(w *wire, what string) {
	e := s.log.Debug()
	if s.misfits.due(w.door + " " + hostOf(w.RemoteAddr().String()) + " " + what) {
		e = s.log.Info()
	}
	e.Str("door", w.door).Stringer("client", w.RemoteAddr()).Msg(what)
}

// handshakeFailed finds the client in "http: TLS handshake error from 127.0.0.1:50000: remote error: tls: bad certificate", if the
// reason begins with one of those given.
func handshakeFailed(text string, reasons []string) (client string, ok bool) {
	rest, found := strings.CutPrefix(text, "http: TLS handshake error from ")
	addr, why, cut := strings.Cut(rest, ": ")
	if !found || !cut || !slices.ContainsFunc(reasons, func(r string) bool { return strings.HasPrefix(why, r) }) {
		return "", false
	}
	host, _, err := net.SplitHostPort(addr)
	return host, err == nil
}
