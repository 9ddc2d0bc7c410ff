package main

import (
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

// root is what people compare and wait for in a CA certificate.
type root struct {
	fingerprint string
	end         time.Time
}

// parseRoot reads the first certificate.
func parseRoot(content []byte) (root, error) {
	block, _ := pem.Decode(content)
	if block == nil {
		return root{}, errors.New("no certificate in PEM form")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return root{}, err
	}
	return root{fingerprint(cert.Raw), cert.NotAfter}, nil
}

// fingerprint is written as openssl and the certificate managers of desktops write it.
func fingerprint(raw []byte) string {
	sum := sha256.Sum256(raw)
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(pairs, ":")
}

// caShow reads only the certificate: whoever asks need not be allowed to read the key, and nothing is
// made by looking.
func (p program) caShow(_ sources, c config) error {
	path := c.certPath()
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return withHint("it is made by the first `entrepot serve`; --data-dir names another place", "ca: %w", err)
	}
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	cert, err := parseRoot(content)
	if err != nil {
		return fmt.Errorf("ca: %s: %w", path, err)
	}
	_, err = fmt.Fprintf(p.stdout, "certificate  %s\nsha256       %s\nvalid until  %s\n", path, cert.fingerprint, cert.end.Format(time.RFC3339))
	return err
}
