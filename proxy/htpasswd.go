package proxy

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// Users are the names of an htpasswd file with the bcrypt hashes of their passwords.
type Users struct {
	hashes map[string]string
	// What the password of an unknown name is compared with, so that the time it takes does not tell who is known. It is the costliest
	// of the file: where costs differ, a quick no still tells of a name with a cheap hash.
	decoy string
}

// maxCost bounds the work of one comparison: each step doubles it, and 14 is about a second.
const maxCost = 14

// ReadUsers reads an htpasswd file: NAME:HASH on each line, empty lines and those with # left out. Only bcrypt is taken, since the
// other schemes of such files can be broken by who gets the file. No hash is ever part of an error.
func ReadUsers(path string) (*Users, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("htpasswd: %w; see that it exists and that this user may read it", err)
	}
	u := &Users{hashes: map[string]string{}}
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if err := u.add(line); err != nil {
			return nil, fmt.Errorf("htpasswd %s: line %d: %w", path, number, err)
		}
	}
	if u.decoy == "" {
		return nil, fmt.Errorf("htpasswd %s: there is no user in it; add one with: htpasswd -B %s NAME", path, path)
	}
	return u, nil
}

func (u *Users) add(line string) error {
	name, hash, found := strings.Cut(line, ":")
	if !found || name == "" {
		return fmt.Errorf("want NAME:HASH, as htpasswd -B writes it")
	}
	if u.hashes[name] != "" {
		return fmt.Errorf("user %q is there twice: take one line out", name)
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || !strings.HasPrefix(hash, "$2") {
		return fmt.Errorf("the password of user %q is not hashed by bcrypt; set it again with: htpasswd -B FILE NAME", name)
	}
	if cost > maxCost {
		return fmt.Errorf("the hash of user %q has cost %d, want at most %d, which takes a second already", name, cost, maxCost)
	}
	if most, err := bcrypt.Cost([]byte(u.decoy)); err != nil || cost > most {
		u.decoy = hash
	}
	u.hashes[name] = hash
	return nil
}

// hash is what a name's password is compared with, a decoy for an unknown name.
func (u *Users) hash(name string) (hash string, known bool) {
	if h := u.hashes[name]; h != "" {
		return h, true
	}
	return u.decoy, false
}
