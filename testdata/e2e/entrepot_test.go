//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
)

// The doors of the entrepot of each test, on the ports that users know. Those
// that names are overridden with are not on loopback: see network_test.go.
const (
	proxyAddr  = "127.0.0.1:3128"
	mirrorAddr = "127.0.0.1:5000"
	tlsAddr    = lanAddr + ":443"
	httpAddr   = lanAddr + ":80"
	adminAddr  = "127.0.0.1:5001"
)

// entrepot is the program under test, with an empty cache and a CA of its own.
type entrepot struct {
	*process
	up   *upstream
	ca   string // the file with the certificate that clients must trust
	warm bool   // something was pulled already
}

// serveFlags are those of a server with all doors open on this internet. A
// flag may be given once only, so those that a test gives replace the usual.
func (u *upstream) serveFlags(dir string, given ...string) []string {
	usual := []string{
		"--data-dir", dir, "--proxy-listen", proxyAddr, "--mirror-listen", mirrorAddr,
		"--tls-listen", tlsAddr, "--http-listen", httpAddr, "--admin-listen", adminAddr,
		"--resolver", dnsAddr, "--upstream-ca", u.roots,
		"--registry", "s3reg.corp.test", "--registry", "reg.corp.test", "--log-format", "json",
	}
	flags := append([]string{"serve"}, given...)
	for i := 0; i < len(usual); i += 2 {
		if !slices.Contains(given, usual[i]) {
			flags = append(flags, usual[i], usual[i+1])
		}
	}
	return flags
}

// startEntrepot starts it, with flags that differ from the usual ones.
func startEntrepot(t *testing.T, u *upstream, flags ...string) *entrepot {
	t.Helper()
	return startEntrepotIn(t, u, filepath.Join(scratch(t), "entrepot"), flags...)
}

// startEntrepotIn starts it on a data directory that may have a cache in it.
func startEntrepotIn(t *testing.T, u *upstream, dir string, flags ...string) *entrepot {
	t.Helper()
	p := start(t, "entrepot", command(nil, entrepotBinary(), u.serveFlags(dir, flags...)...))
	e := &entrepot{process: p, up: u, ca: filepath.Join(dir, "ca", "ca.crt")}
	p.until(t, ready)
	return e
}

func ready() error {
	resp, err := http.Get("http://" + adminAddr + "/readyz")
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("readyz says %s", resp.Status)
	}
	return nil
}

// proxied is the environment of a client that goes through the proxy door.
func proxied() []string {
	return []string{"HTTPS_PROXY=http://" + proxyAddr, "HTTP_PROXY=http://" + proxyAddr}
}

// trusting adds to it the CA, for clients that have one file of roots.
func (e *entrepot) trusting() []string { return append(proxied(), "SSL_CERT_FILE="+e.ca) }

// trustSystemWide does what a user does on Debian, with the certificate that
// the mirror door hands out, and takes it back when the test is over.
func (e *entrepot) trustSystemWide(t *testing.T) {
	t.Helper()
	const anchor = "/usr/local/share/ca-certificates/entrepot.crt"
	update := func() { run(t, command(nil, "/usr/sbin/update-ca-certificates")) }
	_, pem := get(t, "http://"+mirrorAddr+"/ca.crt")
	placeFile(t, anchor, pem)
	update()
	t.Cleanup(func() {
		removing(anchor)(t, "")
		update()
	})
}

// override sends names to the tls and http doors by a block in /etc/hosts.
func (e *entrepot) override(t *testing.T, names ...string) {
	t.Helper()
	overrideTo(t, lanAddr, names...)
}

func overrideTo(t *testing.T, ip string, names ...string) {
	t.Helper()
	run(t, command(nil, entrepotBinary(), append([]string{"hosts", "add", "--ip", ip}, names...)...))
	t.Cleanup(func() { run(t, command(nil, entrepotBinary(), append([]string{"hosts", "remove"}, names...)...)) })
}

// get fetches a URL without any proxy.
func get(t testing.TB, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return fetch(t, req)
}

// fetch is get for a request with headers.
func fetch(t testing.TB, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", req.URL, err)
	}
	return resp, string(body)
}

// healthy shows that the server still serves: a small image's manifest comes.
func (e *entrepot) healthy(t *testing.T) {
	t.Helper()
	select {
	case <-e.gone:
		t.Fatalf("entrepot ended: %v", e.err)
	default:
	}
	req, err := http.NewRequest(http.MethodGet, "http://"+mirrorAddr+"/v2/library/alpine/manifests/3.20", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", dockerFormat().index)
	resp, body := fetch(t, req)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("a healthy request got %s: %s", resp.Status, body)
	}
}
