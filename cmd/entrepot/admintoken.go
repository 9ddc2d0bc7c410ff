package main

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// The admin token lets the commands of this program in by the admin door of the process that serves: who can read it in the data
// directory can do there what he likes anyway, and needs no password.

func tokenPath(dataDir string) string { return filepath.Join(dataDir, "admin.token") }

// makeAdminToken writes another one at each start. The old file goes first, with whatever rights somebody gave it.
func makeAdminToken(dataDir string) (string, error) {
	path, token := tokenPath(dataDir), rand.Text()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(token + "\n")
	return token, errors.Join(err, f.Close())
}

// bearAdminToken puts the token of the serving process on a request to it. Without one the admin door judges as it does everybody.
func bearAdminToken(req *http.Request, dataDir string) {
	if token, err := os.ReadFile(tokenPath(dataDir)); err == nil {
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
}
