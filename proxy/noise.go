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
	warned *lru.Cache[string, time.Time] // when a client was last spoken of
	now    func() time.Time
}

const (
	warnEvery = 10 * time.Minute
	maxWarned = 1024
)

// doubts are how it looks from here when a client does not trust a certificate: by the alerts that Go, OpenSSL and others send. OpenSSL 3
// encrypts its alert in TLS 1.3 by a key that crypto/tls does not expect yet, so that it arrives as a damaged record.
var doubts = []string{
	"remote error: tls: bad certificate", "remote error: tls: unknown certificate", // and "unknown certificate authority"
	"local error: tls: bad record MAC",
}

// uncertified are what crypto/tls says of clients without a certificate, or with one that --client-ca does not cover.
var uncertified = []string{"tls: client didn't provide a certificate", "tls: failed to verify certificate"}

func newServerNoise(log zerolog.Logger) *serverNoise {
	n := &serverNoise{log: log, now: time.Now}
	n.warned, _ = lru.New[string, time.Time](maxWarned) // errs on a size below one only
	return n
}

func (n *serverNoise) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p))
	if client, ok := handshakeFailed(text, doubts); ok && n.due(client) {
		n.log.Warn().Str("client", client).
			Msg("a client does not trust the CA of entrepot: give it the certificate, which GET /ca.crt serves and `entrepot ca show` names, and restart it")
	} else if client, ok := handshakeFailed(text, uncertified); ok && n.due(client) {
		n.log.Warn().Str("client", client).Str("error", text).Msg("client refused: it shows no certificate of --client-ca")
	} else {
		n.log.Debug().Msg(text)
	}
	return len(p), nil
}

// due tells whether this client was not spoken of for a while: some try again every second.
func (n *serverNoise) due(client string) bool {
	now := n.now()
	if last, ok := n.warned.Get(client); ok && now.Sub(last) < warnEvery {
		return false
	}
	n.warned.Add(client, now)
	return true
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
