package ca

import (
	"crypto"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/youmark/pkcs8"
)

func TestWrongMode(t *testing.T) {
	tests := []struct {
		mode os.FileMode
		want string
	}{
		{0o600, ""},
		{0o400, ""},
		{0o640, "got mode 0640, want 0600"},
		{0o604, "got mode 0604, want 0600"},
		{0o660, "got mode 0660, want 0600"},
		{0o644, "got mode 0644, want 0600"},
	}
	for _, tt := range tests {
		t.Run(tt.mode.String(), func(t *testing.T) {
			dir := t.TempDir()
			mustOpen(t, Config{Dir: dir})
			key := filepath.Join(dir, keyName)
			if err := os.Chmod(key, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := Open(Config{Dir: dir})
			if tt.want == "" {
				if err != nil {
					t.Errorf("got error %v, want none", err)
				}
				return
			}
			wantError(t, err, tt.want, "chmod 600 "+key)
		})
	}
}

func TestModeIsThatOfTheFileBehindALink(t *testing.T) {
	root := newOperator(t, "own root", nil, newKey(t, "ecdsa"), nil)
	cfg := files(t, root)
	link := filepath.Join(t.TempDir(), "link.key")
	if err := os.Symlink(cfg.KeyFile, link); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, Config{CertFile: cfg.CertFile, KeyFile: link})
	if err := os.Chmod(cfg.KeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Config{CertFile: cfg.CertFile, KeyFile: link})
	wantError(t, err, "0644")
}

// TestKeysOfOpenSSL reads what OpenSSL 3 writes, with the passphrase swordfish.
func TestKeysOfOpenSSL(t *testing.T) {
	dir := t.TempDir()
	right := write(t, filepath.Join(dir, "right"), []byte("swordfish\n"), 0o600)
	wrong := write(t, filepath.Join(dir, "wrong"), []byte("sword\n"), 0o600)
	for _, name := range []string{"pkcs8-pbkdf2.pem", "pkcs8-scrypt.pem", "legacy-ec.pem", "legacy-rsa.pem"} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			file := write(t, filepath.Join(t.TempDir(), name), data, 0o600)
			if _, err := readKey(file, right); err != nil {
				t.Errorf("right passphrase: got error %v, want none", err)
			}
			_, err = readKey(file, wrong)
			wantError(t, err, file, wrong, "check the passphrase")
			_, err = readKey(file, "")
			wantError(t, err, file, "encrypted", "no passphrase file")
		})
	}
}

func TestKeyBehindItsParameters(t *testing.T) {
	data, err := os.ReadFile("testdata/ec-with-params.pem")
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, filepath.Join(t.TempDir(), "ec.key"), data, 0o600)
	if _, err := readKey(file, ""); err != nil {
		t.Errorf("got error %v, want none", err)
	}
}

func encryptedPEM(t *testing.T, key crypto.Signer, passphrase string) []byte {
	t.Helper()
	der, err := pkcs8.MarshalPrivateKey(key, []byte(passphrase), nil)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: encryptedPKCS8, Bytes: der})
}

func TestEncryptedIssuer(t *testing.T) {
	root := newOperator(t, "own root", nil, newKey(t, "rsa"), nil)
	cfg := files(t, root)
	write(t, cfg.KeyFile, encryptedPEM(t, root.key, " two words "), 0o600)
	tests := []struct {
		name, content string
		want          []string
	}{
		{"right", " two words ", nil},
		{"newline", " two words \n", nil},
		{"newline of Windows", " two words \r\n", nil},
		{"two newlines", " two words \n\n", []string{"check the passphrase"}},
		{"trimmed", "two words", []string{"check the passphrase"}},
		{"empty", "\n", []string{"is empty"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := cfg
			cfg.PassphraseFile = write(t, filepath.Join(t.TempDir(), "passphrase"), []byte(tt.content), 0o600)
			a, err := Open(cfg)
			if tt.want != nil {
				wantError(t, err, append(tt.want, cfg.KeyFile, cfg.PassphraseFile)...)
				return
			}
			if err != nil {
				t.Fatalf("got error %v, want none", err)
			}
			if _, err := handshake(a, "quay.io", pool(root.cert)); err != nil {
				t.Errorf("handshake: got error %v, want none", err)
			}
		})
	}
	cfg.PassphraseFile = filepath.Join(t.TempDir(), "missing")
	_, err := Open(cfg)
	wantError(t, err, cfg.PassphraseFile, "no such file")
}

func TestKeysThatWillNotDo(t *testing.T) {
	dir := t.TempDir()
	pass := write(t, filepath.Join(dir, "pass"), []byte("x"), 0o600)
	exchange, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	exchangeDER, err := x509.MarshalPKCS8PrivateKey(exchange)
	if err != nil {
		t.Fatal(err)
	}
	encrypted, _ := pem.Decode(encryptedPEM(t, newKey(t, "ecdsa"), "x"))
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "no private key"},
		{"certificate", newOperator(t, "x", nil, newKey(t, "ecdsa"), nil).pem(), "no private key"},
		{"damaged", block("PRIVATE KEY", []byte("nonsense")), "damaged"},
		{"unknown", block("DSA PRIVATE KEY", []byte("nonsense")), "DSA PRIVATE KEY"},
		{"cannot sign", block("PRIVATE KEY", exchangeDER), "cannot sign"},
		{"encrypted and cut", block(encryptedPKCS8, encrypted.Bytes[:len(encrypted.Bytes)-16]), "decrypt"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := write(t, filepath.Join(t.TempDir(), "a.key"), tt.data, 0o600)
			_, err := readKey(file, pass)
			wantError(t, err, file, tt.want)
		})
	}
	_, err = readKey(dir, "")
	wantError(t, err, dir)
}

// TestCutCipherText: the library panics on a cipher text of odd length.
func TestCutCipherText(t *testing.T) {
	pass := []byte("x")
	der, err := pkcs8.MarshalPrivateKey(newKey(t, "ecdsa"), pass, nil)
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Algorithm asn1.RawValue
		Data      []byte
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		t.Fatal(err)
	}
	info.Data = info.Data[:len(info.Data)-1]
	if der, err = asn1.Marshal(info); err != nil {
		t.Fatal(err)
	}
	if _, err := decryptPKCS8(der, pass); err == nil {
		t.Error("got no error, want one")
	}
}
