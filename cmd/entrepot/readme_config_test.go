package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestReadmeConfig: the configuration file that the README shows is in order, and it has each key that a registry, a rule for tags or a
// credential can have.
func TestReadmeConfig(t *testing.T) {
	certificates := filepath.Join(dataDirWithCA(t), "ca", "ca.crt")
	secrets, helpers := file(t, "secret", "{}"), t.TempDir()
	if err := os.WriteFile(filepath.Join(helpers, "docker-credential-ecr-login"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	env := []string{"TEAM_TOKEN=x", "PATH=" + helpers}
	var shown string
	for _, b := range allBlocks(t) {
		if b.tag != "config" {
			continue
		}
		shown += b.text
		text := regexp.MustCompile(`/etc/entrepot/\S+\.crt`).ReplaceAllString(b.text, certificates)
		text = regexp.MustCompile(`/run/secrets/\S+`).ReplaceAllString(text, secrets)
		path := file(t, "entrepot.yaml", text)
		if out, stderr, code := output(t, env, "config", "check", "--config", path); code != 0 || out != "ok\n" {
			t.Errorf("%s: got %s%s", b.at, out, stderr)
		}
	}
	var keys []string
	for _, f := range ruleFields() {
		keys = append(keys, "(    |  - )"+f.name)
	}
	for _, f := range tagKind().fields {
		keys = append(keys, "(        |      - )"+f.name)
	}
	for _, f := range credentialKind().fields {
		keys = append(keys, "(        |      - )"+f.name)
	}
	for _, key := range keys {
		if !regexp.MustCompile(`(?m)^` + key + `:`).MatchString(shown) {
			t.Errorf("no configuration file in the README has the key %s", key)
		}
	}
}
