package ca

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// signing is an issuer with its key, and the leaves that it has signed. Only
// the leaves change.
type signing struct {
	issuer   issuer
	public   Public
	key      crypto.Signer
	roots    *x509.CertPool // what clients trust
	above    *x509.CertPool // what a server sends behind the leaf
	limited  bool           // to some names, by a certificate of the chain
	verified atomic.Bool    // a client would accept a leaf, or would have
	notAfter time.Time      // the first end in the chain: from then on clients refuse all leaves
	leaves   *lru.Cache[string, *leaf]
	flight   singleflight.Group
	now      func() time.Time
}

// load reads what is in force. In a directory of our own the pair may be half
// exchanged, by a process that died or by one that is at it right now.
func (c Config) load(from source, now func() time.Time) (*signing, error) {
	s, err := c.read(from, now)
	if !errors.Is(err, errForeignKey) || !from.made {
		return s, err
	}
	d := dir(c.Dir)
	if err := d.locked(d.straighten); err != nil {
		return nil, err
	}
	return c.read(from, now)
}

func (c Config) read(from source, now func() time.Time) (*signing, error) {
	is, err := readIssuer(from, now())
	if err != nil {
		return nil, err
	}
	key, err := readKey(from.key, c.PassphraseFile)
	if err != nil {
		return nil, err
	}
	if err := is.matches(key); err != nil {
		return nil, err
	}
	public := is.public()
	if from.made {
		d := dir(c.Dir)
		if err := cmp.Or(d.checkModes(), d.addOther(&public)); err != nil {
			return nil, err
		}
	}
	return newSigning(is, public, key, c.Leaves, now)
}

func newSigning(is issuer, public Public, key crypto.Signer, leaves int, now func() time.Time) (*signing, error) {
	if leaves == 0 {
		leaves = defaultLeaves
	}
	kept, err := lru.New[string, *leaf](leaves)
	if err != nil {
		return nil, fmt.Errorf("open CA: leaves kept in memory: %w (got %d); use 0 for the default of %d", err, leaves, defaultLeaves)
	}
	roots, above := is.pools()
	return &signing{
		issuer: is, public: public, key: key, roots: roots, above: above, limited: is.limited(), notAfter: is.notAfter(), leaves: kept, now: now,
	}, nil
}
