package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"

	"github.com/entrepot/entrepot/ca"
	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/proxy"
	"github.com/entrepot/entrepot/proxy/acme"
)

// house is the rooms, open and tied together.
type house struct {
	authority *ca.Authority
	store     *cache.Store
	server    *proxy.Server
	table     *hosts.Table // in force
	cert      serverCert
	keeper    *acme.Keeper // nil: no certificate by ACME
}

// openHouse opens everything behind the doors.
func openHouse(c config, log zerolog.Logger) (*house, error) {
	authority, err := ca.Open(c.caConfig())
	if err != nil {
		return nil, err // it says the next step itself
	}
	limit, err := c.MaxSize.of(c.DataDir)
	if err != nil {
		return nil, err
	}
	free, err := c.MinFree.of(c.DataDir)
	if err != nil {
		return nil, err
	}
	store, err := openStore(c.DataDir, cache.Config{MaxSize: limit, MinFree: free, Report: func(what string, err error) {
		log.Warn().Err(err).Msg("cache: " + what)
	}})
	if err != nil {
		return nil, err
	}
	h := &house{authority: authority, store: store}
	if err := h.openServer(c, log); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return h, nil
}

func (h *house) openServer(c config, log zerolog.Logger) error {
	rules, err := c.proxyConfig()
	if err != nil {
		return err
	}
	rules.CA, rules.Store, rules.Log = h.authority, h.store, log
	if rules.AdminToken, err = makeAdminToken(c.DataDir); err != nil {
		return err
	}
	if rules.ClientCAs, err = c.clientRoots(); err != nil {
		return err
	}
	cert, err := c.serverCert()
	if err != nil {
		return err
	}
	h.cert.Store(cert)
	if h.keeper, err = c.keeper(log); err != nil {
		return err
	}
	if h.keeper != nil {
		rules.AnswerACME = h.keeper.Answer
	}
	rules.MirrorTLS, rules.ProxyTLS = h.certFor(c, c.TLS.Mirror), h.certFor(c, c.TLS.Proxy)
	h.cautionDoors(c, log)
	h.table = rules.Table
	h.server, err = proxy.New(rules)
	return err
}

// cautionDoors says what an operator may not expect of the doors as they are set up.
func (h *house) cautionDoors(c config, log zerolog.Logger) {
	if (c.Access.Htpasswd != "" || c.TLS.ClientCA != "") && (c.Listen[tlsDoor] != "" || c.Listen[httpDoor] != "") {
		log.Warn().Msg("the tls and http doors cannot ask who is there: --allow-client alone says who may use them")
	}
	if addr := c.Listen[adminDoor]; c.Access.AdminHtpasswd == "" && !onLoopback(addr) {
		log.Info().Msgf("the admin door at %s has no password: other machines get /healthz, /readyz and /metrics, without the names of your own registries, and nothing else; --admin-htpasswd gives it one", addr)
	}
	now := h.authority.Public()
	if out := now.Outside(c.namesByCA()); len(out) > 0 {
		log.Warn().Msgf("the CA is limited to other hosts and may not sign for %s: clients would refuse the mirror and proxy doors by these names; %s",
			strings.Join(out, ", "), remedy(now))
	}
}

// certFor is where a door's certificate comes from.
func (h *house) certFor(c config, source string) proxy.CertFor {
	switch source {
	case tlsCert:
		return h.cert.get
	case tlsCA:
		return proxy.OwnNames(h.authority, c.serverNames())
	case tlsACME:
		if h.keeper != nil { // nil where the door is off
			return h.keeper.Certificate
		}
	}
	return nil
}

// serve lets clients in by one door until the server is shut down.
func (h *house) serve(door int, l net.Listener) error {
	switch door {
	case proxyDoor:
		return h.server.ServeProxy(l)
	case mirrorDoor:
		return h.server.ServeMirror(l)
	case tlsDoor:
		return h.server.ServeTLS(l)
	case httpDoor:
		return h.server.ServePlain(l)
	case adminDoor:
		return h.server.ServeAdmin(l)
	}
	return fmt.Errorf("door %d is not known", door)
}

// drain lets running transfers end, until ctx does.
func (h *house) drain(ctx context.Context) error {
	if h.keeper != nil {
		h.keeper.Close()
	}
	return h.server.Shutdown(ctx)
}

// reload puts another table of registries in force, other users, a renewed certificate, and what is in the
// files of the CA now: all of it, or nothing.
func (h *house) reload(c config) error {
	table, err := c.table()
	if err != nil {
		return err
	}
	who, err := c.Access.users()
	if err != nil {
		return err
	}
	cert, err := c.serverCert()
	if err != nil {
		return err
	}
	if err := h.authority.Reload(); err != nil {
		return err
	}
	h.cert.Store(cert)
	h.server.SetTable(table)
	h.server.SetUsers(who.clients, who.admins)
	h.table = table
	return nil
}

// caConfig is the operator's own CA, or the one in the data directory.
func (c config) caConfig() ca.Config {
	return ca.Config{
		Dir: filepath.Join(c.DataDir, "ca"), CertFile: c.CACert, KeyFile: c.CAKey, PassphraseFile: c.CAPassphraseFile,
	}
}

// certPath is the file that clients must trust.
func (c config) certPath() string {
	if c.CACert != "" {
		return c.CACert
	}
	return filepath.Join(c.DataDir, "ca", "ca.crt")
}

// proxyConfig is what the operator says about the proxy.
func (c config) proxyConfig() (proxy.Config, error) {
	table, err := c.table()
	if err != nil {
		return proxy.Config{}, err
	}
	resolver, err := hosts.NewResolver(c.Resolvers)
	if err != nil {
		return proxy.Config{}, withHint("name DNS servers with --resolver ADDR", "resolver: %w", err)
	}
	roots, err := c.upstreamRoots()
	if err != nil {
		return proxy.Config{}, err
	}
	who, err := c.Access.users()
	if err != nil {
		return proxy.Config{}, err
	}
	return proxy.Config{
		Table: table, Resolver: resolver, UpstreamRoots: roots,
		AllowNets: c.AllowNets, AllowClients: c.Access.Clients, Balancers: c.Access.Balancers, Users: who.clients, Admins: who.admins,
		TunnelPorts: c.TunnelPorts, ClientLimit: c.ClientLimit,
		ManifestTTL: orNever(c.ManifestTTL), MaxStale: orNever(c.MaxStale), Offline: c.Offline,
		AuthTTL: orNever(c.AuthTTL), MaxStaleAuth: orNever(c.MaxStaleAuth),
	}, nil
}

// upstreamRoots are the system's and the operator's. Nil, when there are none of the operator's, lets
// crypto/x509 take the system's, or the embedded ones where the system has none.
func (c config) upstreamRoots() (*x509.CertPool, error) {
	if len(c.UpstreamCAs) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("upstream roots: %w", err)
	}
	for _, path := range c.UpstreamCAs {
		if err := addRoots(pool, path); err != nil {
			return nil, fmt.Errorf("upstream-ca: %w", err)
		}
	}
	return pool, nil
}
