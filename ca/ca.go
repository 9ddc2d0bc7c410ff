// Package ca turns a host name into a certificate that our clients trust.
//
// An Authority signs with one issuer: the root that entrepot makes for itself
// at first start, or an operator's own root or intermediate. Its invariant:
// each certificate it hands out verifies, at that moment and for exactly the
// name asked for, against the first certificate that RootPEM returns. While one
// root takes the place of another, both are there.
//
// It does not decide which names may be intercepted, speaks no TLS itself, and
// never gives a key away.
package ca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
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

// Authority signs leaves with the issuer in force. It is safe for concurrent use.
type Authority struct {
	cfg     Config
	from    source
	inForce atomic.Pointer[signing]
}

// Open loads the issuer that cfg names, or makes one in cfg.Dir when there is
// none. It changes nothing that exists, but for a change-over that was cut off
// halfway, and any number of processes may open one directory at the same time:
// all get the same issuer.
func Open(cfg Config) (*Authority, error) {
	return open(cfg, time.Now)
}

func open(cfg Config, now func() time.Time) (*Authority, error) {
	from, err := cfg.source()
	if err != nil {
		return nil, err
	}
	if from.made {
		if err := dir(cfg.Dir).settle(Limits{}, now()); err != nil {
			return nil, err
		}
	}
	s, err := cfg.load(from, now)
	if err != nil {
		return nil, err
	}
	a := &Authority{cfg: cfg, from: from}
	a.inForce.Store(s)
	return a, nil
}

// Reload reads the files again, after a step of a change-over or after the
// operator has put others there. It makes no CA. Files that will not do leave
// the issuer in force. Leaves are kept only while their issuer stays.
func (a *Authority) Reload() error {
	before := a.inForce.Load()
	next, err := a.cfg.load(a.from, before.now)
	if err != nil {
		return err
	}
	if next.issuer.same(before.issuer) {
		next.leaves = before.leaves
	}
	a.inForce.Store(next)
	return nil
}

// Certificate returns a certificate for exactly this host name or IP address,
// with the chain a client needs and without the root. It is kept, renewed when
// two thirds of its life are over, and made once however many ask at once.
// It is shared: callers must not change it. Names come from the network and are
// judged here, but whether a name may be intercepted is the caller's business.
func (a *Authority) Certificate(name string) (*tls.Certificate, error) {
	return a.inForce.Load().certificate(name)
}

// RootPEM returns what clients must trust, as Public says.
func (a *Authority) RootPEM() []byte { return a.Public().PEM() }

// Public returns what is in force, without the key.
func (a *Authority) Public() Public { return a.inForce.Load().public }

// NotAfter returns when the first certificate of the issuer's chain ends. From
// then on Certificate returns an error.
func (a *Authority) NotAfter() time.Time { return a.inForce.Load().notAfter }

// Made tells whether cert was made by this CA for a host. Of an operator's CA
// that is so only of what Certificate made: it may have signed others too. A
// root of our own making signs for nobody else, so that another leaf of it is
// the work of somebody who has the key. In a change-over the leaves of both
// roots count.
func (a *Authority) Made(cert *x509.Certificate) bool {
	s := a.inForce.Load()
	signed := bytes.Equal(cert.RawIssuer, s.issuer.cert().RawSubject) || slices.ContainsFunc(s.public.Roots, func(r Root) bool {
		return bytes.Equal(cert.RawIssuer, r.Cert.RawSubject)
	})
	return signed && (s.public.ours || slices.Equal(cert.Subject.Organization, leafOrganization()))
}

// Fingerprint returns that of the first certificate in RootPEM.
func (a *Authority) Fingerprint() string { return a.Public().Roots[0].Fingerprint() }

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
		return "let another follow it by `entrepot ca rotate` and `entrepot ca rotate --switch`, and clients trust that one"
	}
	return fmt.Sprintf("put a renewed certificate into %s", s.cert)
}
