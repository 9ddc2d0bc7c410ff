package credentials

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/entrepot/entrepot/hosts"
)

// question is what a helper is asked.
type question struct{ helper, server string }

// answer is what it said, from when on who uses it lets the helper be asked behind his back, and until when it counts.
type answer struct {
	secret           Secret
	err              error
	at, renew, until time.Time
}

// The protocol tells no end of a secret. The shortest-lived in use, Google's, live an hour, and the helper may have had one for some
// time: asking after ten minutes is early enough, and a refusal asks at once. What is in use is renewed before, so nobody waits.
const (
	helperLife    = 10 * time.Minute
	helperRenew   = helperLife / 2
	helperPause   = 30 * time.Second // between two runs after a failure, a refusal or a "none"
	helperTimeout = 10 * time.Second
	maxAnswer     = 1 << 20
)

// notFound is how helpers say that they have nothing (docker-credential-helpers, credentials/error.go).
const notFound = "credentials not found in native keychain"

// help asks a helper about a registry, or remembers what it said.
func (s *Sources) help(ctx context.Context, registry string, q question) (Secret, error) {
	a, ok := s.helped.Get(q)
	if now := s.now(); ok && now.Before(a.until) {
		if a.err == nil && !now.Before(a.renew) {
			s.runOnce(registry, q) // for whoever comes later
		}
		return a.secret, a.err
	}
	select {
	case r := <-s.runOnce(registry, q):
		return r.Val.(Secret), r.Err
	case <-ctx.Done():
		return Secret{}, context.Cause(ctx)
	}
}

// runOnce runs a helper for all who ask the same now. The run goes on when one of them leaves, or all do.
func (s *Sources) runOnce(registry string, q question) <-chan singleflight.Result {
	return s.flight.DoChan(q.helper+"\n"+q.server, func() (any, error) {
		if !s.begin() {
			return Secret{}, errClosed
		}
		defer s.work.Done()
		secret, err := run(s.ctx, q)
		a := s.answer(registry, q, secret, err)
		s.helped.Add(q, a)
		return a.secret, a.err
	})
}

// answer is what a run has led to. A helper that fails does not take back what it said before: that is used on until a registry refuses
// it, or nobody uses it any more. One that says "none" does.
func (s *Sources) answer(registry string, q question, secret Secret, err error) answer {
	now := s.now()
	old, ok := s.helped.Peek(q)
	switch {
	case err == nil:
		return answer{secret: secret, at: now, renew: now.Add(helperRenew), until: now.Add(helperLife)}
	case ok && old.err == nil && now.Before(old.until) && !errors.Is(err, ErrNone):
		if s.ctx.Err() == nil {
			s.warn(registry, fmt.Errorf("%w: %w", ErrOld, err))
		}
		old.renew, old.until = now.Add(helperPause), now.Add(helperLife)
		return old
	}
	return answer{err: err, at: now, until: now.Add(helperPause)}
}

// run is one run of a helper. What it says beside the answer may hold secrets, or lead to some: nothing of it is passed on.
func run(ctx context.Context, q question) (Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, program(q.helper), "get")
	cmd.Stdin = strings.NewReader(q.server)
	cmd.Stdout = &out
	// At the end of our patience all that it has started goes with it: a script's children would hold on to what it waited for.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for what it has started and left behind with its output open
	err := cmd.Run()
	said := strings.TrimSpace(out.String())
	switch {
	case ctx.Err() != nil:
		return Secret{}, fmt.Errorf("%s gave no answer within %v", program(q.helper), helperTimeout)
	case err != nil && strings.HasPrefix(said, notFound):
		return Secret{}, ErrNone
	case errors.Is(err, exec.ErrNotFound):
		return Secret{}, findHelper(q.helper)
	case err != nil:
		return Secret{}, fmt.Errorf("%s failed (%w): try `%s get` by hand, as the user that entrepot runs as", program(q.helper), exited(err), program(q.helper))
	}
	return readAnswer(q, said)
}

func readAnswer(q question, said string) (Secret, error) {
	var a struct{ Username, Secret string }
	if len(said) > maxAnswer || json.Unmarshal([]byte(said), &a) != nil {
		return Secret{}, fmt.Errorf("%s did not answer in JSON with Username and Secret", program(q.helper))
	}
	switch {
	case a.Secret == "":
		return Secret{}, ErrNone
	case a.Username == "<token>": // the protocol's way of saying that it is an identity token
		return Secret{identity: a.Secret}, nil
	}
	return Secret{username: a.Username, password: a.Secret}, nil
}

// exited keeps of a failure how the program ended. An ExitError's own text is that, but it carries what was printed with it.
func exited(err error) error {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return errors.New(e.ProcessState.String())
	}
	return err
}

func program(helper string) string { return "docker-credential-" + helper }

func findHelper(helper string) error {
	if _, err := exec.LookPath(program(helper)); err != nil {
		return fmt.Errorf("%s is not a program on the PATH of entrepot", program(helper))
	}
	return nil
}

// dockerHub is the name that Docker Hub has in Docker's files and for helpers.
const dockerHub = "https://index.docker.io/v1/"

// serverOf is what helpers know a registry by.
func serverOf(r hosts.Registry) string {
	if r.Name == "docker.io" {
		return dockerHub
	}
	return r.Name
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
