//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
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
		{Kind: world.Cut, At: 1000},
		{Kind: world.HTML},
		{Kind: world.ContentEncoding},
		{Kind: world.WrongLength, At: 200 << 10},
	} {
		repo := fmt.Sprintf("poison/app%d", i)
		pushed := s.world.Push(s.t, "reg.corp.test/"+repo+":1", world.Image(s.t, uint64(100+i), 100<<10))
		fault.On, fault.Times = world.Blob, -1
		digest := s.largest(repo, pushed)
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
	for what, m := range map[string][2]string{
		"a manifest that is an index too (CVE-2021-41190)": {"application/vnd.oci.image.index.v1+json", both},
		"a manifest whose header says another type":        {"application/vnd.oci.image.manifest.v1+json", strings.Split(both, `,"layers"`)[0] + "}"},
		"a manifest of 9 MiB":                              {"application/vnd.oci.image.manifest.v1+json", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","x":"` + strings.Repeat("x", 9<<20) + `"}`},
		"a manifest that is no JSON":                       {"application/vnd.oci.image.manifest.v1+json", "<html>"},
	} {
		s.world.Host("reg.corp.test").Fault(world.Fault{Kind: world.Status, On: world.Manifest, Times: -1, Status: 200, Body: m[1], Header: map[string]string{
			"Content-Type": m[0], "Docker-Content-Digest": fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(m[1]))),
		}})
		resp, _ := s.ask(mirrorAddr, "GET /v2/reg.corp.test/poison/manifest/manifests/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: */*\r\n\r\n")
		s.world.Heal()
		s.try(what, resp.Status, unless(resp.StatusCode >= 400, "it was served"))
	}
	s.world.Host("quay.io").Fault(world.Fault{Kind: world.Status, On: world.Token, Status: 200, Body: `{"token":"` + strings.Repeat("x", 4<<20) + `"}`})
	s.world.Push(s.t, "quay.io/poison/token:1", world.Image(s.t, 200, 1<<10))
	resp, _ := s.ask(mirrorAddr, "GET /v2/quay.io/poison/token/manifests/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: */*\r\n\r\n")
	s.world.Heal()
	s.try("a token of 4 MiB", resp.Status, unless(resp.StatusCode >= 500, "it was taken"))
}

// largest is the layer of an image with one layer.
func (s *siege) largest(repo string, p world.Pushed) string {
	s.t.Helper()
	best, size := "", int64(-1)
	for _, d := range p.Blobs {
		resp, _ := s.ask(mirrorAddr, "HEAD /v2/reg.corp.test/"+repo+"/blobs/"+d+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if resp.ContentLength > size {
			best, size = d, resp.ContentLength
		}
	}
	return best
}

// strangers ask for what another may read and the program holds.
func (s *siege) strangers() {
	path := strings.TrimPrefix(attackPrivate, "reg.corp.test/")
	basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(attackUser+":"+attackPassword)) + "\r\n"
	ask := func(method, what, credential string) (*http.Response, string) {
		resp, body := s.ask(proxyAddr, method+" http://reg.corp.test/v2/"+path+"/"+what+" HTTP/1.1\r\nHost: reg.corp.test\r\nConnection: close\r\nAccept: */*\r\n"+credential+"\r\n")
		return resp, body
	}
	resp, _ := ask("GET", "manifests/1", basic)
	pushed := s.world.Push(s.t, attackPrivate+":1", world.Image(s.t, 4, 100<<10))
	for _, d := range pushed.Blobs {
		ask("GET", "blobs/"+d, basic)
	}
	again, _ := ask("GET", "blobs/"+pushed.Blobs[0], basic)
	s.try("for comparison: who may read it does", resp.Status+", then "+again.Header.Get("Cache-Status"), unless(resp.StatusCode == 200 && strings.Contains(again.Header.Get("Cache-Status"), "hit"), "want a hit"))

	wrong := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(attackUser+":wrong")) + "\r\n"
	for what, credential := range map[string]string{
		"nobody": "", "a wrong password": wrong, "a made-up token": "Authorization: Bearer entrepot-offline\r\n", "a cut-off credential": basic[:len(basic)-5] + "\r\n",
		"two credentials": "Authorization: \r\n" + wrong,
	} {
		var got, bad []string
		for _, q := range [][2]string{
			{"GET", "manifests/1"},
			{"HEAD", "manifests/1"},
			{"GET", "manifests/" + pushed.Digest},
			{"HEAD", "manifests/" + pushed.Digest},
			{"GET", "blobs/" + pushed.Blobs[0]},
			{"HEAD", "blobs/" + pushed.Blobs[0]},
			{"GET", "tags/list"},
			{"GET", "referrers/" + pushed.Digest},
		} {
			resp, _ := ask(q[0], q[1], credential)
			got = append(got, fmt.Sprint(resp.StatusCode))
			if resp.StatusCode < 400 {
				bad = append(bad, q[0]+" "+q[1])
			}
		}
		s.try("a private image that is held, for "+what, strings.Join(got, " "), unless(len(bad) == 0, "served: %v", bad))
	}
	for _, row := range []struct{ what, where string }{{"the mirror", "reg.corp.test/" + path}, {"another, public repository", "reg.corp.test/open/app"}, {"another registry", "library/alpine"}} {
		held, heldBody := s.ask(mirrorAddr, "GET /v2/"+row.where+"/blobs/"+pushed.Blobs[0]+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		absent := "sha256:" + strings.Repeat("0", 64)
		other, otherBody := s.ask(mirrorAddr, "GET /v2/"+row.where+"/blobs/"+absent+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		same := held.StatusCode == other.StatusCode && strings.ReplaceAll(heldBody, pushed.Blobs[0], absent) == otherBody
		s.try("a private digest that is held, by "+row.what, held.Status+", one that is not: "+other.Status, unless(held.StatusCode >= 400 && same, "the answers differ: %.100q, %.100q", heldBody, otherBody))
	}
	s.world.Host("reg.corp.test").Fault(world.Fault{Kind: world.Status, Status: 429, Times: -1})
	resp, _ = ask("GET", "manifests/1", wrong)
	s.world.Heal()
	s.try("a stranger while the registry says 429 (CVE-2026-45781)", resp.Status, unless(resp.StatusCode >= 400, "served"))
}

// traces: no secret in the log, in metrics or on disk, and nothing that others may read.
func (s *siege) traces() {
	log, err := os.ReadFile(s.e.log)
	if err != nil {
		s.t.Fatal(err)
	}
	_, metrics := get(s.t, "http://"+adminAddr+"/metrics")
	secrets := []string{attackPassword, base64.StdEncoding.EncodeToString([]byte(attackUser + ":" + attackPassword)), "c2VjcmV0", "X-Amz-Signature", "Bearer ey", "PRIVATE KEY", "pw@"}
	for where, text := range map[string]string{"the log at level debug": string(log), "the metrics": metrics} {
		var found []string
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				found = append(found, secret)
			}
		}
		s.try("secrets in "+where, fmt.Sprintf("none in %d bytes", len(text)), unless(len(found) == 0, "%v", found))
	}
	s.try("faults of ours in the log", "none", unless(!strings.Contains(string(log), "panic"), "a panic"))
	data := filepath.Dir(filepath.Dir(s.e.ca))
	var open, held []string
	err = filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := filepath.Base(path)
		if info.Mode().Perm()&0o002 != 0 || info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 || name == "ca.key" && info.Mode().Perm()&0o077 != 0 {
			open = append(open, path+" "+info.Mode().String())
		}
		if name == "ca.key" || !info.Mode().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		for _, secret := range secrets[:3] {
			if strings.Contains(string(content), secret) {
				held = append(held, path)
			}
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.try("files that others may write, run, or read the key of", "none", unless(len(open) == 0, "%v", open))
	s.try("secrets in the cache's files", "none", unless(len(held) == 0, "%v", held))
}
