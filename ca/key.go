package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/youmark/pkcs8"
)

const encryptedPKCS8 = "ENCRYPTED PRIVATE KEY"

// readKey reads an RSA, ECDSA or Ed25519 key. passphraseFile is looked at only
// when the key is encrypted.
func readKey(file, passphraseFile string) (crypto.Signer, error) {
	data, err := readPrivate(file)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(data, passphraseFile)
	if err != nil {
		return nil, fmt.Errorf("read CA key %s: %w", file, err)
	}
	return key, nil
}

// readPrivate refuses a file that others could have read: whoever has the key
// can be any host to every client that trusts the root. It asks the open file,
// not the name, so that the two cannot differ.
func readPrivate(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read CA key: %w; see that it exists and that this user may read it", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read CA key: %w", err)
	}
	if err := checkMode(file, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read CA key: %w", err)
	}
	return data, nil
}

func checkMode(file string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("read CA key %s: it is no regular file (got %s); name the key file itself", file, info.Mode())
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("read CA key %s: others than its owner may use it (got mode %04o, want 0600); run: chmod 600 %s", file, perm, file)
	}
	return nil
}

func parseKey(data []byte, passphraseFile string) (crypto.Signer, error) {
	block := keyBlock(data)
	if block == nil {
		return nil, errors.New("no private key in it (want a PEM block such as PRIVATE KEY); name the file that holds the key")
	}
	if isEncrypted(block) {
		passphrase, err := readPassphrase(passphraseFile)
		if err != nil {
			return nil, err
		}
		key, err := decryptKey(block, passphrase)
		if err != nil {
			return nil, fmt.Errorf("cannot decrypt it with the passphrase in %s: %w; check the passphrase", passphraseFile, err)
		}
		return signer(key)
	}
	key, err := parseDER(block.Type, block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("damaged key: %w; restore it from a backup", err)
	}
	return signer(key)
}

// keyBlock finds the key among what a PEM file may hold besides: EC parameters
// before it, certificates around it.
func keyBlock(data []byte) *pem.Block {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return block
		}
	}
	return nil
}

func readPassphrase(file string) ([]byte, error) {
	if file == "" {
		return nil, errors.New("it is encrypted and no passphrase file is set; set one, or decrypt the key with: openssl pkey")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("it is encrypted, and its passphrase: %w; see that the passphrase file exists and that this user may read it", err)
	}
	passphrase := bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	if len(passphrase) == 0 {
		return nil, fmt.Errorf("it is encrypted and the passphrase file %s is empty; write the passphrase into it", file)
	}
	return passphrase, nil
}

// isEncrypted knows PKCS #8 by its type and the older form of OpenSSL by its
// DEK-Info header.
func isEncrypted(block *pem.Block) bool {
	//lint:ignore SA1019 The form is weak, but operators have such keys and we only read them.
	return block.Type == encryptedPKCS8 || x509.IsEncryptedPEMBlock(block)
}

func decryptKey(block *pem.Block, passphrase []byte) (any, error) {
	if block.Type == encryptedPKCS8 {
		return decryptPKCS8(block.Bytes, passphrase)
	}
	//lint:ignore SA1019 The form is weak, but operators have such keys and we only read them.
	der, err := x509.DecryptPEMBlock(block, passphrase)
	if err != nil {
		return nil, err
	}
	key, err := parseDER(block.Type, der)
	if err != nil {
		// The form has no checksum: one wrong passphrase in 256 passes the test
		// of the padding and yields noise.
		return nil, x509.IncorrectPasswordError
	}
	return key, nil
}

// decryptPKCS8 turns the panics of the cipher on a file cut short into errors.
func decryptPKCS8(der, passphrase []byte) (key any, err error) {
	defer func() {
		if p := recover(); p != nil {
			key, err = nil, fmt.Errorf("damaged key: %v", p)
		}
	}()
	return pkcs8.ParsePKCS8PrivateKey(der, passphrase)
}

func parseDER(kind string, der []byte) (any, error) {
	switch kind {
	case "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(der)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(der)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(der)
	}
	return nil, fmt.Errorf("unknown kind (got %q, want PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY)", kind)
}

func signer(key any) (crypto.Signer, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case *ecdsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("key of kind %T cannot sign certificates; use RSA, ECDSA or Ed25519", key)
}
