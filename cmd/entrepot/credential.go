package main

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/proxy/credentials"
)

// credentialKind is how a credential of ours stands in the file: where it is to be got, and never what it is.
func credentialKind() itemKind[hosts.Credential] {
	field := func(name string, of func(c *hosts.Credential) *string) itemField[hosts.Credential] {
		return itemField[hosts.Credential]{
			name, func(c *hosts.Credential, s string) error { return setText(of(c), s) },
			func(c hosts.Credential) string { return *of(&c) },
		}
	}
	path := func(name string, of func(c *hosts.Credential) *string) itemField[hosts.Credential] {
		f := field(name, of)
		f.set = func(c *hosts.Credential, s string) error { return setPath(of(c), s) }
		return f
	}
	const elsewhere = "a secret does not stand in this file: write `password-file: FILE` or `password-env: VARIABLE`"
	return itemKind[hosts.Credential]{
		key: "registry: credentials", what: "what is said of a credential",
		fields: []itemField[hosts.Credential]{
			field("prefix", func(c *hosts.Credential) *string { return &c.Prefix }),
			field("username", func(c *hosts.Credential) *string { return &c.Username }),
			path("password-file", func(c *hosts.Credential) *string { return &c.PasswordFile }),
			field("password-env", func(c *hosts.Credential) *string { return &c.PasswordEnv }),
			field("helper", func(c *hosts.Credential) *string { return &c.Helper }),
			path("docker-config", func(c *hosts.Credential) *string { return &c.DockerConfig }),
		},
		refused: map[string]string{"password": elsewhere, "secret": elsewhere, "token": elsewhere, "auth": elsewhere},
	}
}

// setText wants text: an empty one is more likely a value that was not filled in.
func setText(to *string, text string) error {
	if text == "" {
		return fault{"a value", "remove the key if there is none"}
	}
	*to = text
	return nil
}

func setPath(to *string, text string) error {
	if err := wantPath(text); err != nil {
		return err
	}
	return setText(to, text)
}

// wantCredential is the answer to a credential that is no mapping. It does not repeat what may be a password.
func wantCredential(*rule, string) error {
	return errors.New("want `- username: NAME` with `password-file: FILE` below it, or `- helper: NAME`")
}

func readCredential(f fileReader, n *yaml.Node, r *rule) {
	r.Credentials = append(r.Credentials, credentialKind().item(f, n))
	r.credentialsFrom = append(r.credentialsFrom, f.at(n, "registry: credentials"))
}

func addShare(r *rule, text string) error {
	r.Share = append(r.Share, text)
	return nil
}

// checkCredentials looks whether each secret can be got, as far as that can be told without asking a registry.
func (c config) checkCredentials(bad *problems) {
	if c.DockerConfig != "" {
		if err := credentials.Check(hosts.Credential{DockerConfig: c.DockerConfig}); err != nil {
			bad.add(c.from("docker-config"), err.Error(), "`docker login` makes it, as ~/.docker/config.json of the user who says that")
		}
	}
	for _, r := range c.Rules {
		for i, cred := range r.Credentials {
			err := credentials.Check(cred)
			if cred.PasswordEnv != "" && c.env[cred.PasswordEnv] == "" {
				err = fmt.Errorf("the environment variable %s is not set", cred.PasswordEnv)
			}
			if err != nil {
				bad.add(r.credentialsFrom[i], err.Error(), "each credential has to be there at the start; its content may change later")
			}
		}
	}
}

// withDockerConfig gives every cached registry that has no credential for all of it the one for all.
func (c config) withDockerConfig(list []hosts.Registry) []hosts.Registry {
	for i := range list {
		r := &list[i]
		if _, has := r.Credential(""); !has && c.DockerConfig != "" && r.Mode == hosts.Cache {
			r.Credentials = append(r.Credentials[:len(r.Credentials):len(r.Credentials)], hosts.Credential{DockerConfig: c.DockerConfig})
		}
	}
	return list
}
