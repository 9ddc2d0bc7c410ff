// Package acme gets the server's certificates from a CA that speaks ACME (RFC 8555), and renews them.
//
// Certmagic does the work: accounts, orders, renewal long before the end, what is kept in files. This package is the one place that
// knows it. It decides which names there are certificates for, and it shows none for any other; which doors use them it does not know.
// Connections to the CA are its own: they are not upstream's, whose guard is for what registries say.
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/certmagic"
	"github.com/rs/zerolog"
	"go.uber.org/zap"
)

// Config says for which names certificates are wanted, from whom, and how it can be shown that the names are ours. Dir and Names are
// required.
type Config struct {
	Dir       string         // the account's key, certificates and their keys are kept here
	Names     []string       // host names; each gets a certificate of its own
	Email     string         // for the CA's mail about the account; may be empty
	Directory string         // URL of the CA's directory; empty is Let's Encrypt
	Roots     *x509.CertPool // who vouches for the CA's own server; nil is the system's

	// The ports at which the CA looks for its answer: HTTP-01 at 80, TLS-ALPN-01 at 443, unless the network leads these elsewhere. Each is
	// opened while an answer is waited for, unless a door has it. Zero is none. Host is where they are opened, empty is everywhere.
	HTTPPort, TLSPort int
	Host              string
	// DNSHook is a program that shows them by DNS-01 instead; empty is none.
	DNSHook string

	Log zerolog.Logger
}

// Keeper has the certificates, from a short time after Open on, and keeps them fresh until Close.
type Keeper struct {
	names  []string
	magic  *certmagic.Config
	issuer *certmagic.ACMEIssuer
	cache  *certmagic.Cache
	cancel context.CancelFunc
}

// Open begins to get what is not there yet, and does not wait for it: a CA that cannot be reached is asked again, and again.
func Open(cfg Config) (*Keeper, error) {
	if len(cfg.Names) == 0 || cfg.Dir == "" {
		return nil, errors.New("get certificates by ACME: no name to get one for: say --server-name")
	}
	k := &Keeper{names: cfg.Names}
	k.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return k.magic, nil },
		Logger:           zap.NewNop(),
	})
	k.magic = certmagic.New(k.cache, certmagic.Config{
		DefaultServerName: cfg.Names[0],
		Storage:           &certmagic.FileStorage{Path: cfg.Dir},
		OCSP:              certmagic.OCSPConfig{DisableStapling: true}, // CAs give it up, and clients do not ask for it
		OnEvent:           teller(cfg.Log),
		Logger:            zap.NewNop(), // what people need to know comes as events
	})
	k.issuer = certmagic.NewACMEIssuer(k.magic, cfg.template())
	k.magic.Issuers = []certmagic.Issuer{k.issuer}
	var ctx context.Context
	ctx, k.cancel = context.WithCancel(context.Background())
	if err := k.magic.ManageAsync(ctx, cfg.Names); err != nil {
		k.Close()
		return nil, fmt.Errorf("get certificates by ACME for %s: %w", strings.Join(cfg.Names, ", "), err)
	}
	return k, nil
}

func (cfg Config) template() certmagic.ACMEIssuer {
	t := certmagic.ACMEIssuer{
		CA: cfg.Directory, Email: cfg.Email, Agreed: true, TrustedRoots: cfg.Roots,
		DisableHTTPChallenge: cfg.HTTPPort == 0, AltHTTPPort: cfg.HTTPPort,
		DisableTLSALPNChallenge: cfg.TLSPort == 0, AltTLSALPNPort: cfg.TLSPort, ListenHost: cfg.Host,
		// The environment's proxy may well be this program.
		HTTPProxy: func(*http.Request) (*url.URL, error) { return nil, nil },
		Logger:    zap.NewNop(),
	}
	if t.CA == "" {
		t.CA = certmagic.LetsEncryptProductionCA
	}
	if cfg.DNSHook != "" {
		t.DNS01Solver = hook{cfg.DNSHook}
	}
	return t
}

// teller writes down what becomes of certificates.
func teller(log zerolog.Logger) func(context.Context, string, map[string]any) error {
	return func(_ context.Context, event string, data map[string]any) error {
		name, _ := data["identifier"].(string)
		switch event {
		case "cert_obtaining":
			log.Info().Str("name", name).Msg("asking for a certificate by ACME")
		case "cert_obtained":
			log.Info().Str("name", name).Msg("got a certificate by ACME")
		case "cached_managed_cert":
			names, _ := data["sans"].([]string)
			log.Info().Strs("names", names).Msg("a certificate by ACME is in use")
		case "cert_failed":
			err, _ := data["error"].(error)
			log.Error().Err(err).Str("name", name).Msg("got no certificate by ACME: it is tried again; see that the name leads here, and at which port or by which DNS the CA looks")
		}
		return nil
	}
}

// Certificate is the one for the name that a hello asks for, or for the first of ours where it asks for none. Nil without an error
// means a name that is not ours. The CA, that looks for its answer, gets that.
func (k *Keeper) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	ours := hello.ServerName == "" || slices.ContainsFunc(k.names, func(n string) bool { return strings.EqualFold(n, hello.ServerName) })
	if !ours {
		return nil, nil
	}
	return k.magic.GetCertificate(hello)
}

// Answer answers a request by which the CA looks for its answer at port 80. False means that it is not one.
func (k *Keeper) Answer(w http.ResponseWriter, r *http.Request) bool {
	return k.issuer.HandleHTTPChallenge(w, r)
}

// Close ends the renewals. The certificates that there are stay in their files.
func (k *Keeper) Close() {
	k.cancel()
	k.cache.Stop()
}
