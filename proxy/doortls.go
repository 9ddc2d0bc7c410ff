package proxy

import (
	"crypto/tls"
	"net/netip"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ca"
)

// CertFor chooses the certificate with which a door answers a hello. Nil without an error means that the door is not known by that
// name, which the client is told.
type CertFor func(hello *tls.ClientHelloInfo) (*tls.Certificate, error)

// OwnNames makes certificates by our CA for the names and addresses that a door has, and for no others: who trusts the CA must not be
// shown its certificate for a bank, though somebody led the bank's name here. A client that names no host means an address: the one it
// came to, if no list of addresses says otherwise.
func OwnNames(a *ca.Authority, names []string) CertFor {
	var addrs []string
	for _, n := range names {
		if _, err := netip.ParseAddr(n); err == nil {
			addrs = append(addrs, n)
		}
	}
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
		if name != "" {
			if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
				return nil, nil
			}
			return a.Certificate(name)
		}
		name = hostOf(hello.Conn.LocalAddr().String())
		if len(addrs) > 0 && !slices.Contains(addrs, name) {
			name = addrs[0] // the address that is known outside, of a container or behind a balancer
		}
		return a.Certificate(name)
	}
}

// protoACME is what an ACME server speaks when it looks at a TLS port (RFC 8737). It shows no client certificate.
const protoACME = "acme-tls/1"

// entry is the way in by a door that may speak TLS. HTTP/2 is for requests that name no other host: a proxy's client means HTTP/1.1
// by CONNECT.
func (s *Server) entry(door string, cert CertFor, protos ...string) func(*wire) {
	if cert == nil {
		return s.enterPlain
	}
	cfg := s.doorTLS(door, cert, append(protos, protoACME))
	return func(w *wire) {
		s.spawn(w, func() { s.handshake(w, cfg) })
	}
}

func (s *Server) doorTLS(door string, cert CertFor, protos []string) *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protos,
		CipherSuites: append([]uint16{
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		}, s.tls.CipherSuites...),
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, err := cert(hello)
			if c == nil && err == nil {
				s.log.Warn().Str("door", door).Str("client", hostOf(hello.Conn.RemoteAddr().String())).Str("name", hello.ServerName).
					Msg("TLS name refused: this door is not known by it; add it with --server-name")
			}
			return c, err
		},
	}
	if s.cfg.ClientCAs == nil {
		return cfg
	}
	withoutClients := cfg.Clone()
	cfg.ClientCAs = s.cfg.ClientCAs
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Equal(hello.SupportedProtos, []string{protoACME}) {
			return withoutClients, nil
		}
		cfg := cfg.Clone()
		cfg.ClientAuth = s.clientAuth()
		return cfg, nil
	}
	return cfg
}

// clientAuth asks for a certificate, and insists on it where there is no password that could stand in for it.
func (s *Server) clientAuth() tls.ClientAuthType {
	if s.clients.users.Load() != nil {
		return tls.VerifyClientCertIfGiven
	}
	return tls.RequireAndVerifyClientCert
}
