package ca

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// minRSA is what OpenSSL's default security level and the browsers ask for.
const minRSA = 2048

// issuer is the chain of a certificate file: the certificate that signs leaves
// first, then each one's own issuer, up to a root or as far as the file goes.
type issuer struct {
	from  source
	chain []*x509.Certificate // never empty
}

func readIssuer(from source, now time.Time) (issuer, error) {
	chain, err := readChain(from.cert)
	if err != nil {
		return issuer{}, err
	}
	is := issuer{from: from, chain: chain}
	if err := is.checkAuthority(); err != nil {
		return issuer{}, fmt.Errorf("check CA certificate %s: %w", from.cert, err)
	}
	if err := is.checkTime(now); err != nil {
		return issuer{}, err
	}
	if err := is.checkOrder(now); err != nil {
		return issuer{}, fmt.Errorf("check CA certificate %s: %w", from.cert, err)
	}
	return is, nil
}

// parseChain takes the certificates out of a PEM file and ignores what else is
// there, since keys and comments often live in the same file.
func parseChain(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in it: %w; write it again from its source", len(chain)+1, err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("no PEM certificate in it; convert a binary one with: openssl x509 -inform der")
	}
	return chain, nil
}

// checkAuthority sees that each certificate may sign others. A key usage of 0
// means that the certificate does not limit its use.
func (is issuer) checkAuthority() error {
	for i, c := range is.chain {
		if !c.BasicConstraintsValid || !c.IsCA {
			return fmt.Errorf("%s is no CA certificate (got CA:FALSE, want CA:TRUE); use the certificate of a root or intermediate CA", title(c))
		}
		if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
			return fmt.Errorf("%s may not sign certificates (key usage lacks certSign); use one that may", title(c))
		}
		if c.MaxPathLen >= 0 && i > c.MaxPathLen {
			return fmt.Errorf("%s allows %d CAs below itself and has %d; use a CA with a greater path length", title(c), c.MaxPathLen, i)
		}
	}
	return nil
}

// checkTime sees that the whole chain is valid now.
func (is issuer) checkTime(now time.Time) error {
	for _, c := range is.chain {
		if now.Before(c.NotBefore) {
			return fmt.Errorf("check CA certificate %s: %s is not valid before %s (now %s); check this machine's clock",
				is.from.cert, title(c), clock(c.NotBefore), clock(now))
		}
		if !now.Before(c.NotAfter) {
			return fmt.Errorf("check CA certificate %s: %s expired on %s (now %s); %s",
				is.from.cert, title(c), clock(c.NotAfter), clock(now), is.from.renew())
		}
	}
	return nil
}

// checkOrder sees that each certificate is signed by the next one, and that
// the limits of the chain allow certificates for servers.
func (is issuer) checkOrder(now time.Time) error {
	for i, c := range is.chain[:len(is.chain)-1] {
		if err := c.CheckSignatureFrom(is.chain[i+1]); err != nil || selfSigned(c) {
			return fmt.Errorf("%s is not signed by the next in the file, %s; put the signing certificate first, then each one's issuer, the root last",
				title(c), title(is.chain[i+1]))
		}
	}
	roots, above := is.pools()
	_, err := is.cert().Verify(x509.VerifyOptions{Roots: roots, Intermediates: above, CurrentTime: now})
	if err != nil {
		return fmt.Errorf("clients would refuse it: %w; use a CA that may sign for servers", err)
	}
	return nil
}

// limited tells whether a certificate of the chain is good for some names only
// (name constraints, RFC 5280 section 4.2.1.10), of whatever kind.
func (is issuer) limited() bool {
	return slices.ContainsFunc(is.chain, func(c *x509.Certificate) bool {
		return slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(nameConstraints) })
	})
}

var nameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}

// matches sees that key belongs to the signing certificate and is one whose
// signatures clients accept.
func (is issuer) matches(key crypto.Signer) error {
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(is.cert().PublicKey) {
		return fmt.Errorf("open CA: key %s %w to %s, the first certificate in %s; put the two files of one pair there",
			is.from.key, errForeignKey, title(is.cert()), is.from.cert)
	}
	if k, ok := key.(*rsa.PrivateKey); ok && k.N.BitLen() < minRSA {
		return fmt.Errorf("open CA: key %s is too short (got %d bits, want %d); make a new CA", is.from.key, k.N.BitLen(), minRSA)
	}
	return nil
}

var errForeignKey = errors.New("does not belong")

// same tells whether the other would send the same chain with its leaves.
func (is issuer) same(other issuer) bool {
	return slices.EqualFunc(is.chain, other.chain, (*x509.Certificate).Equal)
}

// cert is the certificate that signs leaves.
func (is issuer) cert() *x509.Certificate { return is.chain[0] }

// anchor is the certificate that clients must trust.
func (is issuer) anchor() *x509.Certificate { return is.chain[len(is.chain)-1] }

// sent is what goes out behind a leaf: all but the root. The highest
// intermediate goes out too, since its root is not ours to give and most
// clients of an operator's CA trust that root already.
func (is issuer) sent() [][]byte {
	var raw [][]byte
	for _, c := range is.chain {
		if !selfSigned(c) {
			raw = append(raw, c.Raw)
		}
	}
	return raw
}

func (is issuer) pools() (roots, above *x509.CertPool) {
	roots, above = x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(is.anchor())
	for _, c := range is.chain[:len(is.chain)-1] {
		above.AddCert(c)
	}
	return roots, above
}

// notAfter is the first end in the chain.
func (is issuer) notAfter() time.Time {
	end := is.cert().NotAfter
	for _, c := range is.chain {
		end = earlier(end, c.NotAfter)
	}
	return end
}

// selfSigned goes by names and key ids and checks no signature: an old root may
// be signed with SHA-1, which Go refuses to check and nobody has to.
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) &&
		(len(c.AuthorityKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, c.SubjectKeyId))
}

func title(c *x509.Certificate) string {
	if c.Subject.CommonName != "" {
		return fmt.Sprintf("%q", c.Subject.CommonName)
	}
	return fmt.Sprintf("%q", c.Subject)
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
