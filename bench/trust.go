package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// hostName is the registry that all servers stand in front of; names below it are registries too.
const hostName = "bench.test"

// trust is a CA for this run: of the origin, and of the servers that have none of their own. All keys are P-256, as entrepot's are.
type trust struct {
	rootFile, certFile, keyFile, rootKeyFile string
	leaf                                     tls.Certificate
	pool                                     *x509.CertPool
}

func newTrust(dir string) (*trust, error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench root"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &rootKey.PublicKey, rootKey)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: hostName}, DNSNames: []string{hostName, "*." + hostName},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, &key.PublicKey, rootKey)
	if err != nil {
		return nil, err
	}
	t := &trust{
		rootFile: filepath.Join(dir, "root.pem"), rootKeyFile: filepath.Join(dir, "root.key"),
		certFile: filepath.Join(dir, "leaf.pem"), keyFile: filepath.Join(dir, "leaf.key"), pool: x509.NewCertPool(),
	}
	if err := t.write(rootDER, leafDER, rootKey, key); err != nil {
		return nil, err
	}
	if t.leaf, err = tls.LoadX509KeyPair(t.certFile, t.keyFile); err != nil {
		return nil, err
	}
	t.pool, err = poolOf(t.rootFile)
	return t, err
}

// write puts the four files where servers find them. The keys are worth nothing after the run, and squid is not root.
func (t *trust) write(root, leaf []byte, rootKey, key *ecdsa.PrivateKey) error {
	files := map[string]*pem.Block{t.rootFile: {Type: "CERTIFICATE", Bytes: root}, t.certFile: {Type: "CERTIFICATE", Bytes: leaf}}
	for name, k := range map[string]*ecdsa.PrivateKey{t.rootKeyFile: rootKey, t.keyFile: key} {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			return err
		}
		files[name] = &pem.Block{Type: "PRIVATE KEY", Bytes: der}
	}
	for name, block := range files {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func poolOf(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificate in it", file)
	}
	return pool, nil
}
