package ca

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// Public is what everybody may know of a CA: its certificates.
type Public struct {
	// Roots are what clients must trust: first the root of the leaves, or the
	// highest intermediate that we know; then, in a change-over, the other root.
	Roots []Root
	Phase Phase

	chain []*x509.Certificate // that of the issuer in force
	ours  bool
}

// Ours tells whether entrepot made it and can rotate it.
func (p Public) Ours() bool { return p.ours }

// Root is a certificate to be trusted, and the file that it is in.
type Root struct {
	File string
	Cert *x509.Certificate
}

// Phase is how far a change-over from one root to the next has come.
type Phase int

const (
	// Steady is no change-over: there is one root.
	Steady Phase = iota
	// Announced is the time in which clients learn to trust the next root too.
	// Leaves are signed by the one they know.
	Announced
	// Switched is the time in which leaves are signed by the new root, and the
	// old one is still given out.
	Switched
)

// String is for messages.
func (p Phase) String() string { return [...]string{"steady", "announced", "switched"}[p] }

// Look reads the certificates that cfg names, and no key: whoever asks need not
// be allowed to read that. It makes nothing and judges nothing, for an ended CA
// is to be looked at too. There being none is fs.ErrNotExist.
func Look(cfg Config) (Public, error) {
	from, err := cfg.source()
	if err != nil {
		return Public{}, err
	}
	chain, err := readChain(from.cert)
	if err != nil {
		return Public{}, err
	}
	p := issuer{from: from, chain: chain}.public()
	if from.made {
		err = dir(cfg.Dir).addOther(&p)
	}
	return p, err
}

// ReadRoots reads certificates that somebody else exported.
func ReadRoots(file string) (Public, error) {
	certs, err := readChain(file)
	if err != nil {
		return Public{}, err
	}
	p := Public{chain: certs[:1]}
	for _, c := range certs {
		if !c.IsCA {
			return Public{}, fmt.Errorf("read CA certificate %s: %s is no CA certificate (got CA:FALSE, want CA:TRUE); want what `ca export` or /ca.crt gives",
				file, title(c))
		}
		p.Roots = append(p.Roots, Root{file, c})
	}
	return p, nil
}

func (is issuer) public() Public {
	return Public{Roots: []Root{{is.from.cert, is.anchor()}}, chain: is.chain, ours: is.from.made}
}

// addOther puts the other root of a change-over behind the one that signs.
func (d dir) addOther(p *Public) error {
	for _, other := range []struct {
		pair  pair
		phase Phase
	}{{nextPair, Announced}, {oldPair, Switched}} {
		file := d.file(other.pair.cert())
		chain, err := readChain(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		// In the middle of an exchange one certificate has two names.
		if p.Phase == Steady && !chain[0].Equal(p.Roots[0].Cert) {
			p.Roots = append(p.Roots, Root{file, chain[0]})
			p.Phase = other.phase
		}
	}
	return nil
}

func readChain(file string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read CA certificate: %w; see that it exists and that this user may read it", err)
	}
	chain, err := parseChain(data)
	if err != nil {
		return nil, fmt.Errorf("read CA certificate %s: %w", file, err)
	}
	return chain, nil
}

// PEM returns the roots as clients take them.
func (p Public) PEM() []byte {
	var all bytes.Buffer
	for _, r := range p.Roots {
		all.Write(r.PEM())
	}
	return all.Bytes()
}

// End is when the first certificate of the issuer's chain ends, and with it
// every pull by a client that has to trust it.
func (p Public) End() time.Time { return issuer{chain: p.chain}.notAfter() }

// PEM returns the certificate as a file.
func (r Root) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Cert.Raw})
}

// Fingerprint returns the SHA-256 of the certificate as OpenSSL prints it:
// upper-case hex with colons, for people to compare.
func (r Root) Fingerprint() string {
	sum := sha256.Sum256(r.Cert.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}
