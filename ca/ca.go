// Package ca turns a host name into a certificate that our clients trust.
//
// An Authority holds one issuer: the root that entrepot makes for itself at
// first start, or an operator's own root or intermediate. Its invariant: each
// certificate it hands out verifies, at that moment and for exactly the name
// asked for, against the one certificate that RootPEM returns.
//
// It does not decide which names may be intercepted, speaks no TLS itself, and
// never gives the key away.
package ca

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// defaultLeaves bounds the leaves in memory. A leaf weighs about 4 KiB, and a
// host table rarely has a hundred names.
const defaultLeaves = 1024

// Config says where the issuer comes from. The zero value of each field is its
// documented default; either Dir or CertFile and KeyFile must be set.
type Config struct {
	Dir            string // ca.crt and ca.key live here and are made at first start, both or neither
	CertFile       string // an operator's own root, or intermediate with the chain above it; used instead of Dir
	KeyFile        string // the key of the first certificate in CertFile
	PassphraseFile string // holds the passphrase of an encrypted key; one newline at the end is dropped
	Leaves         int    // how many leaves are kept in memory; 0 means 1024
}

// Authority signs leaves with one issuer. It is safe for concurrent use.
type Authority struct {
	issuer   issuer
	key      crypto.Signer
	roots    *x509.CertPool // what clients trust
	above    *x509.CertPool // what a server sends behind the leaf
	notAfter time.Time      // the first end in the chain: from then on clients refuse all leaves
	leaves   *lru.Cache[string, *leaf]
	flight   singleflight.Group
	now      func() time.Time
}

// Open loads the issuer that cfg names, or makes one in cfg.Dir when there is
// none. It changes nothing that exists, and any number of processes may open
// one directory at the same time: all get the same issuer.
func Open(cfg Config) (*Authority, error) {
	return open(cfg, time.Now)
}

func open(cfg Config, now func() time.Time) (*Authority, error) {
	from, err := cfg.source()
	if err != nil {
		return nil, err
	}
	if from.made {
		if err := dir(cfg.Dir).settle(now()); err != nil {
			return nil, err
		}
	}
	is, err := readIssuer(from, now())
	if err != nil {
		return nil, err
	}
	key, err := readKey(from.key, cfg.PassphraseFile)
	if err != nil {
		return nil, err
	}
	if err := is.matches(key); err != nil {
		return nil, err
	}
	return newAuthority(is, key, cfg.Leaves, now)
}

func newAuthority(is issuer, key crypto.Signer, leaves int, now func() time.Time) (*Authority, error) {
	if leaves == 0 {
		leaves = defaultLeaves
	}
	kept, err := lru.New[string, *leaf](leaves)
	if err != nil {
		return nil, fmt.Errorf("open CA: leaves kept in memory: %w (got %d); use 0 for the default of %d", err, leaves, defaultLeaves)
	}
	roots, above := is.pools()
	return &Authority{
		issuer: is, key: key, roots: roots, above: above, notAfter: is.notAfter(), leaves: kept, now: now,
	}, nil
}

// RootPEM returns the certificate that clients must trust: the root when the
// issuer is one or the chain ends in one, else the highest intermediate given.
func (a *Authority) RootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.issuer.anchor().Raw})
}

// NotAfter returns when the first certificate of the issuer's chain ends. From
// then on Certificate returns an error.
func (a *Authority) NotAfter() time.Time { return a.notAfter }

// Made tells whether cert is a leaf of this CA, made by Certificate: not merely
// one of the same issuer, for an operator's CA may have signed others too.
func (a *Authority) Made(cert *x509.Certificate) bool {
	return bytes.Equal(cert.RawIssuer, a.issuer.cert().RawSubject) && slices.Equal(cert.Subject.Organization, leafOrganization())
}

// Fingerprint returns the SHA-256 of the certificate in RootPEM as OpenSSL
// prints it: upper-case hex with colons, for people to compare.
func (a *Authority) Fingerprint() string {
	sum := sha256.Sum256(a.issuer.anchor().Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// source is the pair of files that the issuer is read from.
type source struct {
	cert, key string
	made      bool // by us, in a directory of our own
}

func (c Config) source() (source, error) {
	switch {
	case c.CertFile != "" && c.KeyFile != "":
		return source{cert: c.CertFile, key: c.KeyFile}, nil
	case c.CertFile != "":
		return source{}, fmt.Errorf("open CA: certificate file %s is set without a key file; set both or neither", c.CertFile)
	case c.KeyFile != "":
		return source{}, fmt.Errorf("open CA: key file %s is set without a certificate file; set both or neither", c.KeyFile)
	case c.Dir == "":
		return source{}, errors.New("open CA: no directory and no certificate is set; set one of them")
	}
	d := dir(c.Dir)
	return source{cert: d.file(certName), key: d.file(keyName), made: true}, nil
}

// renew tells a person what to do about an issuer that is of no use any more.
func (s source) renew() string {
	if s.made {
		return fmt.Sprintf("move %s and %s away and start again to have a new CA made, then let clients trust the new %s", s.cert, s.key, certName)
	}
	return fmt.Sprintf("put a renewed certificate into %s", s.cert)
}
