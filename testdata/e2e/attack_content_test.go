//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/entrepot/entrepot/testdata/world"
)

// poison: what is not its digest, or not what it says, reaches no client as if it were, and is not kept.
func (s *siege) poison() {
	for i, fault := range []world.Fault{
		{Kind: world.Corrupt, At: 50 << 10},
		{Kind: world.Corrupt, At: 0},
		{Kind: world.Truncate, At: 1000},
		{Kind: world.Cut, At: 0},
		{Kind: world.HTML},
		{Kind: world.ContentEncoding},
		{Kind: world.WrongLength, At: 200 << 10},
	} {
		repo := fmt.Sprintf("poison/app%d", i)
		pushed := s.world.Push(s.t, "reg.corp.test/"+repo+":1", world.Image(s.t, uint64(100+i), 100<<10))
		fault.On, fault.Times = world.Blob, -1
		digest := s.layer("reg.corp.test/"+repo, pushed, "")
		get := "GET /v2/reg.corp.test/" + repo + "/blobs/" + digest + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
		for _, host := range s.world.Names() {
			s.world.Host(host).Fault(fault)
		}
		resp, body := s.ask(mirrorAddr, get)
		s.world.Heal()
		whole := resp.StatusCode == 200 && resp.ContentLength == int64(len(body))
		again, good := s.ask(mirrorAddr, get)
		right := again.StatusCode == 200 && fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(good))) == digest
		s.try("a layer with the fault "+string(fault.Kind), resp.Status+", whole: "+fmt.Sprint(whole)+"; then "+again.Status, unless(!whole && right, "the second one was right: %v", right))
	}
	both := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + strings.Repeat("ab", 32) +
		`","size":2}],"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:` + strings.Repeat("cd", 32) + `","size":2}],"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:` + strings.Repeat("ef", 32) + `","size":2}}`
	for i, m := range []struct{ what, kind, body string }{
		{"a manifest that is an index too (CVE-2021-41190)", "application/vnd.oci.image.index.v1+json", both},
		{"an index that its header calls a manifest, unless it is called what it is", ociManifest, strings.Split(both, `,"layers"`)[0] + "}"},
		{"a manifest of 9 MiB", ociManifest, `{"schemaVersion":2,"mediaType":"` + ociManifest + `","x":"` + strings.Repeat("x", 9<<20) + `"}`},
		{"a manifest that is no JSON", ociManifest, "<html>"},
		{"a manifest that is a configuration", ociManifest, `{"architecture":"amd64","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`},
	} {
		s.world.Host("reg.corp.test").Fault(world.Fault{Kind: world.Status, On: world.Manifest, Times: -1, Status: 200, Body: m.body, Header: map[string]string{
			"Content-Type": m.kind, "Docker-Content-Digest": sum([]byte(m.body)),
		}})
		resp, body := s.ask(mirrorAddr, request("GET", fmt.Sprintf("/v2/reg.corp.test/poison/manifest%d/manifests/1", i)))
		s.world.Heal()
		s.try(m.what, resp.Status, unless(resp.StatusCode >= 400 || m.body == body && strings.Contains(body, `"mediaType":"`+resp.Header.Get("Content-Type")+`","manifests"`), "it was served: %v %.200q", resp.Header, body))
	}
	s.world.Host("quay.io").Fault(world.Fault{Kind: world.Status, On: world.Token, Status: 200, Body: `{"token":"` + strings.Repeat("x", 4<<20) + `"}`})
	s.world.Push(s.t, "quay.io/poison/token:1", world.Image(s.t, 200, 1<<10))
	resp, _ := s.ask(mirrorAddr, "GET /v2/quay.io/poison/token/manifests/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: */*\r\n\r\n")
	s.world.Heal()
	s.try("a token of 4 MiB", resp.Status, unless(resp.StatusCode >= 500, "it was taken"))
}

// traces: no secret in the log, in metrics or on disk, and nothing that others may read.
func (s *siege) traces() {
	log := s.flushed(s.e.process, mirrorAddr)
	_, metrics := get(s.t, "http://"+adminAddr+"/metrics")
	for where, text := range map[string]string{"the log at level debug": log, "the metrics": metrics, "the refusals of all doors": s.heard.String()} {
		found := secretsIn(text)
		s.try("secrets in "+where, fmt.Sprintf("none in %d bytes", len(text)), unless(len(found) == 0, "%v", found))
	}
	s.try("faults of ours in the log", "none", unless(!strings.Contains(log, "panic"), "a panic"))
	data := filepath.Dir(filepath.Dir(s.e.ca))
	var open, held []string
	err := filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := filepath.Base(path)
		if info.Mode().Perm()&0o077 != 0 && name != "ca.crt" || info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			open = append(open, path+" "+info.Mode().String())
		}
		if name == "ca.key" || !info.Mode().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if found := secretsIn(string(content)); len(found) > 0 {
			held = append(held, fmt.Sprint(path, found))
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.try("files that others of the machine may read or write, or anybody run", "none", unless(len(open) == 0, "%v", open))
	s.try("secrets in the cache's files", "none", unless(len(held) == 0, "%v", held))
}
