package main

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// The admin token lets the commands of this program in by the admin door of the process that serves: who can read it in the data
// directory can do there what he likes anyway, and needs no password.

func tokenPath(dataDir string) string { return filepath.Join(dataDir, "admin.token") }

// makeAdminToken writes another one at each start.
func makeAdminToken(dataDir string) (string, error) {
	token := rand.Text()
	return token, writeOwn(tokenPath(dataDir), token)
}

// writeOwn writes a file for this user alone. The old one goes first, with whatever rights somebody gave it.
func writeOwn(path, line string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

// The address of that door stands beside the token, since the flags of the process that serves are not those of another command.

func adminAddressPath(dataDir string) string { return filepath.Join(dataDir, "admin.address") }

// noteAdminAddress says where the admin door is, which is nil where it is off.
func noteAdminAddress(dataDir string, l net.Listener) error {
	addr := ""
	if l != nil {
		addr = reachable(l)
	}
	return writeOwn(adminAddressPath(dataDir), addr)
}

// adminAddress is where the admin door of the process that serves from the data directory is, "" where it is off. A flag beats what that
// process noted, which may be true in its container only; the file and the environment do not, since its own flags beat them.
func (c config) adminAddress() string {
	if c.from("admin-listen").rank < byFlag {
		if noted, err := os.ReadFile(adminAddressPath(c.DataDir)); err == nil {
			return strings.TrimSpace(string(noted))
		}
	}
	return c.Listen[adminDoor]
}

// bearAdminToken puts the token of the serving process on a request to it. Without one the admin door judges as it does everybody.
func bearAdminToken(req *http.Request, dataDir string) {
	if token, err := os.ReadFile(tokenPath(dataDir)); err == nil {
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
}
