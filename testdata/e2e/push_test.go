//go:build e2e

package e2e

import (
	"encoding/base64"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// pushing shows that a push through the proxy arrives at the registry, and
// that the next pull sees it, also where a tag was pulled just before.
func pushing(t *testing.T, u *upstream) {
	t.Run("crane", func(t *testing.T) { pushByCrane(t, u) })
	t.Run("docker", func(t *testing.T) { pushByDocker(t, u) })
}

func pushByCrane(t *testing.T, u *upstream) {
	e := startEntrepot(t, u)
	const ref, backend = "reg.corp.test/team/crane:1", "http://127.0.0.1:6006/v2/team/crane/manifests/1"
	for _, l := range []layer{u.docker.layers[1], u.docker.layers[2]} { // the second moves the tag
		run(t, command(e.trusting(), program("crane"), "append", "--new_layer", l.path, "--new_tag", ref))
		digest := run(t, command(e.trusting(), program("crane"), "digest", ref))
		if at := digestAt(t, backend); at != digest {
			t.Errorf("the registry has %s, and the next pull sees %s", at, digest)
		}
		if text := run(t, command(e.trusting(), program("crane"), "manifest", ref)); !strings.Contains(text, l.digest) {
			t.Errorf("the pushed layer %s is not in the manifest that comes back: %s", l.digest, text)
		}
		pull(t, crane(t, e.trusting()...), ref)
	}
}

// pushByDocker pushes to Docker Hub, logged in, which takes a token for every
// step, and to a company's registry, which takes none.
func pushByDocker(t *testing.T, u *upstream) {
	u.Account("docker.io", "alice", "wonderland", "alice/*")
	e := startEntrepot(t, u)
	e.trustSystemWide(t)
	auth := base64.StdEncoding.EncodeToString([]byte("alice:wonderland"))
	config := filepath.Join(scratch(t), "cli")
	writeFile(t, filepath.Join(config, "config.json"), `{"auths":{"https://index.docker.io/v1/":{"auth":"`+auth+`"}}}`)
	d := startDocker(t, "", append(proxied(), "DOCKER_CONFIG="+config)...)
	for ref, backend := range map[string]string{
		"reg.corp.test/team/docker:1": "http://127.0.0.1:6006/v2/team/docker/manifests/1",
		"docker.io/alice/app:1":       "http://127.0.0.1:6001/v2/alice/app/manifests/1",
	} {
		if out, err := d.build(t, "scratch", false); err != nil {
			t.Fatalf("docker build: %v\n%s", err, out)
		}
		run(t, d.command("tag", "built:latest", ref))
		pushed := run(t, d.command("push", ref))
		if at := digestAt(t, backend); !strings.Contains(pushed, at) {
			t.Errorf("the registry has %s, docker pushed %s", at, pushed)
		}
		d.remove(t, ref)
		pull(t, d, ref)
		d.remove(t, ref)
	}
}

// digestAt asks the registry's process itself, past all that is in front.
func digestAt(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", dockerFormat().manifest+", "+ociFormat().manifest)
	resp, body := fetch(t, req)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s", url, resp.Status, body)
	}
	return sum([]byte(body))
}
