// Package credentials gets the credentials that this proxy has of its own from where the operator keeps them: files, the environment,
// Docker's configuration file and credential helpers.
//
// The invariant: a secret leaves this room as a [Secret] and in no other way, not as a part of an error. Files are read each time, so
// that a new password counts at once; helpers, which are programs, are asked again after some minutes, behind the back of whoever uses
// what they said. Where a secret may be sent is
// not judged here but by package upstream.
package credentials

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/entrepot/entrepot/hosts"
)

// ErrNone says that there is no credential, which is no fault: a Docker file or a helper that knows nothing of the registry.
var ErrNone = errors.New("there is no credential")

// ErrOld says that a helper failed, and that what it said before is used on.
var ErrOld = errors.New("what the helper said before is used on")

// Sources gets secrets. It is safe for concurrent use.
type Sources struct {
	now    func() time.Time
	warn   func(registry string, err error)
	flight singleflight.Group
	helped *lru.Cache[question, answer]

	ctx    context.Context // of helpers that run; ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // helpers that run: Close waits for them
	mu     sync.Mutex
	closed bool
}

// The bounds of what is read: a password can be a service account's JSON key, a Docker file has a line for each registry.
const (
	maxPassword = 64 << 10
	maxConfig   = 4 << 20
	maxHelped   = 1024
)

// New makes Sources that go by a clock, and tell warn of what no answer of theirs tells: an [ErrOld]. It reads and runs nothing yet.
func New(now func() time.Time, warn func(registry string, err error)) *Sources {
	s := &Sources{now: now, warn: warn}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.helped, _ = lru.New[question, answer](maxHelped) // errs on a size below one only
	return s
}

// Close ends the helpers that run and waits for them.
func (s *Sources) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
}

var errClosed = errors.New("entrepot is shutting down")

// begin tells whether a helper may still be run; who is told yes calls work.Done when it has ended.
func (s *Sources) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.work.Add(1)
	}
	return !s.closed
}

// Get is the secret that c stands for, for a repository of r. [ErrNone] is one of its errors.
func (s *Sources) Get(ctx context.Context, r hosts.Registry, c hosts.Credential, repo string) (Secret, error) {
	switch {
	case c.PasswordFile != "":
		password, err := readPassword(c.PasswordFile)
		return Secret{username: c.Username, password: password}, err
	case c.PasswordEnv != "":
		password := os.Getenv(c.PasswordEnv)
		if password == "" {
			return Secret{}, fmt.Errorf("the environment variable %s is not set", c.PasswordEnv)
		}
		return Secret{username: c.Username, password: password}, nil
	case c.Helper != "":
		return s.help(ctx, r.Name, question{c.Helper, serverOf(r)})
	case c.DockerConfig != "":
		e, err := dockerEntry(c.DockerConfig, r, repo)
		if err == nil && e.ask.helper != "" {
			return s.help(ctx, r.Name, e.ask)
		}
		return e.secret, err
	}
	return Secret{}, ErrNone
}

// Forget lets helpers be asked anew.
func (s *Sources) Forget() { s.helped.Purge() }

// Refused tells that the registry did not take secret. A helper is asked again soon: its secret may have ended early.
func (s *Sources) Refused(secret Secret) {
	for _, q := range s.helped.Keys() {
		if a, ok := s.helped.Peek(q); ok && a.secret == secret {
			a.until = earlier(a.until, a.at.Add(helperPause))
			s.helped.Add(q, a)
		}
	}
}

// Check tells what is wrong with c as far as it can be told without asking anybody.
func Check(c hosts.Credential) error {
	switch {
	case c.PasswordFile != "":
		_, err := readPassword(c.PasswordFile)
		return err
	case c.Helper != "":
		return findHelper(c.Helper)
	case c.DockerConfig != "":
		_, err := readDocker(c.DockerConfig)
		return err
	}
	return nil
}

// readPassword is the file without the line break that editors put at its end.
func readPassword(path string) (string, error) {
	text, err := readFile(path, maxPassword)
	if err != nil {
		return "", err
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" {
		return "", fmt.Errorf("%s is empty: want a password in it", path)
	}
	return password, nil
}

func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return text, err
}
