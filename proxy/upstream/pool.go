package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/entrepot/entrepot/hosts"
)

func (c *Client) transport(q Request) (*http.Transport, error) {
	p, err := c.pool(q.Registry)
	if err != nil {
		return nil, err
	}
	if q.Kind == "blob" || q.Kind == "upload" {
		return p.bulk, nil
	}
	return p.api, nil
}

func (c *Client) pool(r hosts.Registry) (*pool, error) {
	key := fmt.Sprint(r.CAFile, r.AllowNets)
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.pools[key]; ok {
		return p, nil
	}
	roots, err := c.roots(r.CAFile)
	if err != nil {
		return nil, err
	}
	api := &http.Transport{
		DialContext:            c.dialer(slices.Concat(c.cfg.AllowNets, r.AllowNets)),
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, VerifyConnection: c.notOurselves},
		TLSHandshakeTimeout:    handshakeTimeout,
		ExpectContinueTimeout:  time.Second, // for a client that asks before it pushes: zero would send the body unasked
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        90 * time.Second,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}
	bulk := api.Clone()
	bulk.ForceAttemptHTTP2 = false
	bulk.TLSClientConfig.NextProtos = []string{"http/1.1"}
	p := &pool{api: api, bulk: bulk}
	c.pools[key] = p
	return p, nil
}

// ErrOurselves is an upstream that turned out to be this program.
var ErrOurselves = errors.New("entrepot itself")

var errOwnCertificate = fmt.Errorf("upstream's certificate is of a CA of %w", ErrOurselves)

// notOurselves refuses a certificate of our own CA even where the system's store trusts that, as it does on a machine that is a client
// too: whatever holds such a certificate intercepts, and what it sends must not be taken for a registry's word.
func (c *Client) notOurselves(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) > 0 && c.ours(cs.PeerCertificates[0]) {
		return errOwnCertificate
	}
	return nil
}

func (c *Client) ours(cert *x509.Certificate) bool {
	return c.cfg.Ours != nil && cert != nil && c.cfg.Ours(cert)
}

// roots are what upstream certificates are verified against: the client's, and those of one registry's file beside them.
func (c *Client) roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return c.cfg.Roots, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read upstream CA: %w", err)
	}
	roots := c.cfg.Roots
	if roots != nil {
		roots = roots.Clone()
	} else if roots, err = x509.SystemCertPool(); err != nil {
		return nil, fmt.Errorf("read the system's roots: %w", err)
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read upstream CA %s: no certificate in it", file)
	}
	return roots, nil
}
