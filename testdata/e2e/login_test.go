//go:build e2e

package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// loggingIn is every client that can say who it is, by the way its users
// know, and those that do not.
func loggingIn(t *testing.T, u *upstream) {
	u.scenario(t, "docker login", func(t *testing.T) { dockerLogin(t, u) })
	u.scenario(t, "docker by HTTPS_PROXY with a password, over TLS", func(t *testing.T) { dockerBySafeProxy(t, u) })
	u.scenario(t, "containerd by hosts.toml with a header, over TLS", func(t *testing.T) { containerdLogin(t, u) })
	u.scenario(t, "podman login", func(t *testing.T) { podmanLogin(t, u) })
	u.scenario(t, "crane, skopeo and curl by HTTPS_PROXY with a password, over TLS", func(t *testing.T) { toolsBySafeProxy(t, u) })
	u.scenario(t, "docker by a client certificate", func(t *testing.T) { dockerByCertificate(t, u) })
	u.scenario(t, "curl by the PROXY protocol", func(t *testing.T) { curlAsBalancer(t, u) })
}

// guarded starts entrepot with one user, ada, whose password is right.
func guarded(t *testing.T, u *upstream, flags ...string) *entrepot {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.DefaultCost)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(scratch(t), "htpasswd")
	writeFile(t, path, "ada:"+string(hash)+"\n")
	return startEntrepot(t, u, append([]string{"--htpasswd", path}, flags...)...)
}

// safely is the environment of a client that logs in to the proxy over TLS.
func (e *entrepot) safely(password string) []string {
	proxy := "https://ada:" + password + "@" + proxyAddr
	return []string{"HTTPS_PROXY=" + proxy, "HTTP_PROXY=" + proxy, "SSL_CERT_FILE=" + e.ca}
}

func dockerLogin(t *testing.T, u *upstream) {
	e := guarded(t, u)
	d := startDocker(t, "", "DOCKER_CONFIG="+newDir(t, "config"))
	if out, err := d.pull("localhost:5000/library/alpine:3.20"); err == nil || !strings.Contains(out, "no basic auth credentials") {
		t.Errorf("a pull before the login: got %v and %q, want docker's complaint", err, out)
	}
	login := func(password string) (string, error) {
		cmd := d.command("login", "localhost:5000", "--username", "ada", "--password-stdin")
		cmd.Stdin = strings.NewReader(password)
		return try(cmd)
	}
	if out, err := login("wrong"); err == nil {
		t.Errorf("a login with a wrong password: got %q, want an error", out)
	}
	if out, err := login("right"); err != nil {
		t.Fatalf("docker login: %v\n%s", err, out)
	}
	e.pullAs(t, d, "localhost:5000/library/alpine:3.20", hubImage, "mirror")
	e.pullAs(t, d, "localhost:5000/quay.io/prometheus/busybox:latest", quayImage, "mirror")
}

func dockerBySafeProxy(t *testing.T, u *upstream) {
	e := guarded(t, u, "--proxy-tls", "ca")
	e.trustSystemWide(t)
	proxy := "https://ada:right@" + proxyAddr
	d := startDocker(t, "", "HTTPS_PROXY="+proxy, "HTTP_PROXY="+proxy)
	e.pullTwice(t, d, "proxy", hubImage, quaySmall)
}

func containerdLogin(t *testing.T, u *upstream) {
	e := guarded(t, u, "--mirror-tls", "ca")
	dir := filepath.Join(scratch(t), "certs.d")
	req, err := http.NewRequest(http.MethodGet, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("ada", "right")
	writeFile(t, filepath.Join(dir, "_default", "hosts.toml"),
		"[host.\"https://"+mirrorAddr+"\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \""+e.ca+"\"\n"+
			"  [host.\"https://"+mirrorAddr+"\".header]\n    authorization = \""+req.Header.Get("Authorization")+"\"\n")
	c := startContainerd(t, dir)
	e.pullTwice(t, c, "mirror", hubImage, quayImage)
}

func podmanLogin(t *testing.T, u *upstream) {
	e := guarded(t, u)
	mirrorForPodman(t)
	env := "REGISTRY_AUTH_FILE=" + filepath.Join(scratch(t), "auth.json")
	cmd := command([]string{env}, "/usr/bin/podman", "login", "--tls-verify=false", "--username", "ada", "--password-stdin", mirrorAddr)
	cmd.Stdin = strings.NewReader("right")
	run(t, cmd)
	e.pullTwice(t, podman(t, env), "mirror", hubImage, quayImage)
}

func toolsBySafeProxy(t *testing.T, u *upstream) {
	e := guarded(t, u, "--proxy-tls", "ca")
	if out, err := crane(t, e.safely("wrong")...).fetch(hubImage); err == nil || !strings.Contains(out, "407") && !strings.Contains(out, "Proxy Authentication Required") {
		t.Errorf("crane with a wrong password: got %v and %q, want a 407", err, out)
	}
	e.pullTwice(t, crane(t, e.safely("right")...), "proxy", hubImage, gcrImage)
	e.pullTwice(t, skopeo(t, e.safely("right")...), "proxy", quayImage)
	out := run(t, command(nil, "/usr/bin/curl", "--silent", "--show-error", "--proxy", "https://"+proxyAddr, "--proxy-user", "ada:right",
		"--proxy-cacert", e.ca, "--cacert", e.ca, "--write-out", "%{http_code} %{http_connect}", "--output", "/dev/null", "https://quay.io/v2/"))
	if out != "401 200" {
		t.Errorf("curl: got %q, want quay's 401 behind the proxy's 200", out)
	}
}

// dockerByCertificate has the certificate where dockerd looks for those of one
// registry; not of one on loopback, which it takes for insecure.
func dockerByCertificate(t *testing.T, u *upstream) {
	const addr = lanAddr + ":5000"
	dir := filepath.Join("/etc/docker/certs.d", addr)
	cert, key := filepath.Join(dir, "client.cert"), filepath.Join(dir, "client.key")
	placeFile(t, cert, "")
	placeFile(t, key, "")
	run(t, command(nil, "/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
		"-subj", "/CN=ada", "-addext", "extendedKeyUsage=clientAuth", "-keyout", key, "-out", cert))
	e := startEntrepot(t, u, "--mirror-listen", addr, "--mirror-tls", "ca", "--proxy-listen", "off", "--client-ca", cert)
	e.trustForDocker(t, addr)
	d := startDocker(t, "")
	e.pullAs(t, d, addr+"/library/alpine:3.20", hubImage, "mirror")
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if out, err := d.pull(addr + "/library/alpine:3.20"); err == nil {
		t.Errorf("a pull without the certificate: got %q, want an error", out)
	}
}

// curlAsBalancer says first whose the connection is, as HAProxy does, and then speaks TLS.
func curlAsBalancer(t *testing.T, u *upstream) {
	e := startEntrepot(t, u, "--proxy-protocol", "127.0.0.1", "--mirror-tls", "ca")
	ask := func(args ...string) (string, error) {
		return try(command(nil, "/usr/bin/curl", append(args, "--silent", "--cacert", e.ca, "--write-out", "%{http_code}", "https://"+mirrorAddr+"/v2/")...))
	}
	if out, err := ask("--haproxy-protocol"); err != nil || out != "{}200" {
		t.Errorf("with a PROXY header: got %v and %q, want the mirror's answer", err, out)
	}
	if out, err := ask(); err == nil {
		t.Errorf("without one: got %q, want no handshake", out)
	}
}
