package hosts

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Credential says where a credential of ours for a registry is to be got. It
// never holds one. It is comparable: two that are equal are the same.
type Credential struct {
	// Prefix is of repositories: "org/team" is for org/team and for what lies
	// below it, "" for all of the registry.
	Prefix string

	// Username goes with PasswordFile or PasswordEnv.
	Username string

	// PasswordFile is a file with the password and nothing else.
	PasswordFile string

	// PasswordEnv is an environment variable with the password.
	PasswordEnv string

	// Helper is asked, as the program docker-credential-HELPER.
	Helper string

	// DockerConfig is a file as `docker login` writes it. It knows registries
	// and repositories itself.
	DockerConfig string
}

// IsZero tells whether c is none.
func (c Credential) IsZero() bool { return c == Credential{} }

// fixed tells whether c is one secret, whoever it is sent to. A helper and a
// Docker file know what belongs to which registry.
func (c Credential) fixed() bool { return c.PasswordFile != "" || c.PasswordEnv != "" }

// takes tells whether c is for a repository.
func (c Credential) takes(repo string) bool {
	rest, ok := strings.CutPrefix(repo, c.Prefix)
	return ok && (c.Prefix == "" || rest == "" || rest[0] == '/')
}

// Credential returns the one for a repository, of several the one with the
// longest prefix. It costs no allocation.
func (r Registry) Credential(repo string) (Credential, bool) {
	best := -1
	for i := range r.Credentials {
		if r.Credentials[i].takes(repo) && (best < 0 || len(r.Credentials[i].Prefix) > len(r.Credentials[best].Prefix)) {
			best = i
		}
	}
	if best < 0 {
		return Credential{}, false
	}
	return r.Credentials[best], true
}

// Shares tells whether the operator lets everybody read what our credential
// reads of a repository.
func (r Registry) Shares(repo string) bool {
	return slices.ContainsFunc(r.Share, func(pattern string) bool { return matchRepo(pattern, repo) })
}

// CredentialError is what is wrong with one credential of a registry, for who
// knows where that was written.
type CredentialError struct {
	Index int // in Registry.Credentials
	Err   error
}

func (e *CredentialError) Error() string { return fmt.Sprintf("credential %d: %v", e.Index+1, e.Err) }
func (e *CredentialError) Unwrap() error { return e.Err }

// checkCredentials judges the credentials, one error each, and who may share
// in them.
func (r Registry) checkCredentials() []error {
	var errs []error
	for i, c := range r.Credentials {
		err := c.check()
		switch {
		case err != nil:
		case c.fixed() && strings.Contains(r.Name, "*"):
			// Names in such a family are given out to anybody who asks.
			err = fmt.Errorf("a password for all of %s would be told to whoever has a name in there: list the one registry by its own name, or name a helper", r.Name)
		case slices.ContainsFunc(r.Credentials[:i], func(b Credential) bool { return b.Prefix == c.Prefix }):
			err = fmt.Errorf("there is another one with the prefix %q: write one of them", c.Prefix)
		}
		if err != nil {
			errs = append(errs, &CredentialError{i, err})
		}
	}
	for _, pattern := range r.Share {
		if pattern == "" {
			errs = append(errs, errors.New("share has an empty pattern: write ** for all repositories"))
		} else if err := checkRepo(pattern); err != nil {
			errs = append(errs, fmt.Errorf("share %q: %w", pattern, err))
		}
	}
	return errs
}

func (c Credential) check() error {
	sources := 0
	for _, s := range []string{c.PasswordFile, c.PasswordEnv, c.Helper, c.DockerConfig} {
		if s != "" {
			sources++
		}
	}
	switch {
	case sources == 0:
		return errors.New("says no place: write one of password-file, password-env, helper and docker-config")
	case sources > 1:
		return errors.New("says more than one place: write one of password-file, password-env, helper and docker-config")
	case c.fixed() && c.Username == "":
		return errors.New("has a password and no username: write both")
	case !c.fixed() && c.Username != "":
		return errors.New("has a username, which a helper and a Docker file say themselves: leave it out")
	case strings.ContainsAny(c.Username, ":\r\n\x00"):
		return errors.New("the username has a colon or a line break in it, which cannot be sent")
	case !ValidHelper(c.Helper) && c.Helper != "":
		return fmt.Errorf("helper %q is not the end of a program's name: write ecr-login for docker-credential-ecr-login", c.Helper)
	}
	return c.checkPrefix()
}

func (c Credential) checkPrefix() error {
	switch {
	case c.Prefix == "":
		return nil
	case strings.Contains(c.Prefix, "*"):
		return fmt.Errorf("prefix %q is no pattern: write %q, it is for what lies below too", c.Prefix, strings.TrimRight(c.Prefix, "*/"))
	}
	if err := checkRepo(c.Prefix); err != nil {
		return fmt.Errorf("prefix %q: %w", c.Prefix, err)
	}
	return nil
}

// ValidHelper tells whether docker-credential- and name can be a program: no
// path and no option hides in it.
func ValidHelper(name string) bool {
	for i := range len(name) {
		if c := name[i]; !isLowerOrDigit(c) && (c < 'A' || c > 'Z') && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return name != ""
}
