package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/crypto/bcrypt"

	"github.com/entrepot/entrepot/ca"
)

// user is a line of an htpasswd file.
func user(t *testing.T, name, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s:%s\n", name, hash)
}

// status is what a door answers to a request with this password of ada's.
func status(t *testing.T, url, password string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if password != "" {
		req.SetBasicAuth("ada", password)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestHtpasswd: the file opens the mirror, SIGHUP reads it again, and a broken one leaves the old in force.
func TestHtpasswd(t *testing.T) {
	path := file(t, "htpasswd", user(t, "ada", "first"))
	s := serve(t, nil, "--htpasswd", path)
	url := fmt.Sprintf("http://%s/v2/", s.start["mirror"])
	opens := func(when string, want map[string]int) {
		t.Helper()
		for password, want := range want {
			if got := status(t, url, password); got != want {
				t.Errorf("%s: password %q: got %d, want %d", when, password, got, want)
			}
		}
	}
	change := func(content, message string) map[string]any {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Process.Signal(syscall.SIGHUP)
		return s.until(message)
	}
	opens("at the start", map[string]int{"": 401, "first": 200, "second": 401})
	got := change(user(t, "ada", "second")+"eve:plain\n", "not reloaded")
	if text := fmt.Sprint(got["error"]); !strings.Contains(text, "line 2") || strings.Contains(text, "plain") {
		t.Errorf("a broken file: got %q, want its line, and not what is in it", text)
	}
	opens("after a broken file", map[string]int{"": 401, "first": 200, "second": 401})
	if got := change(user(t, "ada", "second"), "reloaded"); got["after_restart"] != nil {
		t.Errorf("got %v to come after a restart, want nothing", got["after_restart"])
	}
	opens("after a good one", map[string]int{"": 401, "first": 401, "second": 200})
}

// TestAdminPassword: people need it, probes do not, and the program's own commands have the token of the data directory.
func TestAdminPassword(t *testing.T) {
	dir := t.TempDir()
	s := serveIn(t, dir, nil, "--admin-htpasswd", file(t, "htpasswd", user(t, "ada", "right")))
	admin := fmt.Sprintf("http://%s", s.start["admin"])
	for _, row := range []struct {
		path, password string
		want           int
	}{
		{"/healthz", "", 200}, {"/readyz", "", 200}, {"/metrics", "", 401}, {"/metrics", "wrong", 401}, {"/metrics", "right", 200},
	} {
		if got := status(t, admin+row.path, row.password); got != row.want {
			t.Errorf("%s with password %q: got %d, want %d", row.path, row.password, got, row.want)
		}
	}
	if info, err := os.Stat(tokenPath(dir)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token's file: got %v, %v, want mode 0600", info, err)
	}
	out, stderr, code := output(t, nil, "verify", "--data-dir", dir, "--admin-listen", fmt.Sprint(s.start["admin"]))
	if code != 0 || !strings.Contains(out, "0 damaged") {
		t.Errorf("verify: got %d, %s%s, want to be let in by the token", code, out, stderr)
	}
}

// TestAccessRefused: a fault in what decides who comes in is found before a door opens.
func TestAccessRefused(t *testing.T) {
	plain := file(t, "htpasswd", "ada:secret\n")
	root := filepath.Join(dataDirWithCA(t), "ca", "ca.crt")
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"htpasswd that is not there", []string{"--htpasswd", plain + "x"}, []string{"entrepot: --htpasswd: ", "no such file", "see that it exists"}},
		{"own certificate without a key", []string{"--server-cert", plain, "--mirror-tls", "cert"}, []string{"--server-cert: is given without server-key"}},
		{"key without a certificate", []string{"--server-key", plain}, []string{"--server-key: is given without server-cert"}},
		{"own certificate for no door", []string{"--server-cert", plain, "--server-key", plain}, []string{"no open door uses it", "--mirror-tls cert"}},
		{"own certificate for a door that is off", []string{"--server-cert", plain, "--server-key", plain, "--mirror-tls", "cert", "--mirror-listen", "off"}, []string{"no open door uses it"}},
		{"no own certificate", []string{"--proxy-tls", "cert"}, []string{"--proxy-tls: there is no certificate for it", "--server-cert"}},
		{"own certificate that is none", []string{"--server-cert", plain, "--server-key", plain, "--mirror-tls", "cert"}, []string{"read the server's certificate: "}},
		{"names for nothing", []string{"--server-name", "cache.lan"}, []string{"--server-name: no open door uses it", "--mirror-tls ca"}},
		{"a name with a port", []string{"--server-name", "cache.lan:5000", "--mirror-tls", "ca"}, []string{"want a host name or an address without a port"}},
		{"client CA without TLS", []string{"--client-ca", root}, []string{"--client-ca: no open door speaks TLS"}},
		{"client CA and a plain door", []string{"--client-ca", root, "--mirror-tls", "ca"}, []string{"the proxy door has no TLS", "--proxy-tls ca", "--htpasswd", "--proxy-listen off"}},
		{"client CA that is none", []string{"--client-ca", plain, "--mirror-tls", "ca", "--proxy-tls", "ca"}, []string{"has no certificate in it"}},
		{"htpasswd with a plain password", []string{"--htpasswd", plain}, []string{"line 1: ", `"ada" is not hashed by bcrypt`, "htpasswd -B"}},
	} {
		stdout, stderr, code := output(t, nil, append([]string{"config", "check", "--data-dir", t.TempDir()}, c.args...)...)
		if code != 1 || stdout != "" || strings.Contains(stderr, "secret") {
			t.Errorf("%s: got exit code %d and output %q%s, want 1, none and no secret", c.name, code, stdout, stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: got %q, want %q in it", c.name, stderr, want)
			}
		}
	}
}

// leafFiles are a certificate for localhost by a CA of the test's, and its key.
func leafFiles(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	authority, err := ca.Open(ca.Config{Dir: filepath.Join(t.TempDir(), "ca")})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := authority.Certificate("localhost")
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	for path, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// TestServerCert: the mirror speaks TLS by the operator's file, and SIGHUP takes in a renewed one.
func TestServerCert(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := leafFiles(t, dir)
	s := serve(t, nil, "--mirror-tls", "cert", "--server-cert", certFile, "--server-key", keyFile, "--proxy-tls", "ca")
	shown := func() []byte {
		t.Helper()
		c, err := tls.Dial("tcp", fmt.Sprint(s.start["mirror"]), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Raw
	}
	first := shown()
	if err := os.WriteFile(keyFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Process.Signal(syscall.SIGHUP)
	if got := fmt.Sprint(s.until("not reloaded")["error"]); !strings.Contains(got, "read the server's certificate") || !bytes.Equal(shown(), first) {
		t.Errorf("a broken key: got %q, want that, and the old certificate", got)
	}
	leafFiles(t, dir)
	s.Process.Signal(syscall.SIGHUP)
	if s.until("reloaded"); bytes.Equal(shown(), first) {
		t.Error("got the old certificate after a reload, want the new one")
	}
	roots := x509.NewCertPool()
	if err := addRoots(roots, fmt.Sprint(s.start["ca"])); err != nil {
		t.Fatal(err)
	}
	c, err := tls.Dial("tcp", fmt.Sprint(s.start["proxy"]), &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		t.Fatalf("the proxy door by our CA: %v", err)
	}
	c.Close()
}

// TestDoorCautions: what an operator may not expect is said at the start. A CA that was limited before a door's certificate came from
// it cannot sign that; one that is limited after can.
func TestDoorCautions(t *testing.T) {
	limited, aware := t.TempDir(), t.TempDir()
	door := []string{"--mirror-tls", "ca", "--server-name", "cache.lan", "--server-name", "10.0.0.7"}
	ran(t, "ca", "init", "--constrain", "--data-dir", limited)
	ran(t, append([]string{"ca", "init", "--constrain", "--data-dir", aware}, door...)...)
	flags := map[string][]string{"mirror-tls": {"ca"}, "server-name": {"cache.lan", "10.0.0.7"}}
	open := map[string][]string{"http-listen": {":80"}, "htpasswd": {file(t, "htpasswd", user(t, "ada", "right"))}}
	for _, row := range []struct {
		what, dir string
		flags     map[string][]string
		want      string
	}{
		{"limited before", limited, flags, "may not sign for cache.lan, 10.0.0.7"},
		{"limited after", aware, flags, ""},
		{"no door by the CA", limited, nil, ""},
		{"a door that cannot ask", aware, open, "--allow-client alone says"},
		{"the admin door for all", aware, map[string][]string{"admin-listen": {"0.0.0.0:5001"}}, "the admin door at 0.0.0.0:5001 has no password"},
		{"the same without an address", aware, map[string][]string{"admin-listen": {":5001"}}, "has no password"},
		{"for a network", aware, map[string][]string{"admin-listen": {"[fd00::1]:5001"}}, "has no password"},
		{"with a password", aware, map[string][]string{"admin-listen": {":5001"}, "admin-htpasswd": open["htpasswd"]}, ""},
		{"by IPv6", aware, map[string][]string{"admin-listen": {"[::1]:5001"}}, ""},
		{"by name", aware, map[string][]string{"admin-listen": {"localhost:5001"}}, ""},
		{"off", aware, map[string][]string{"admin-listen": {"off"}}, ""},
	} {
		authority, err := ca.Open(ca.Config{Dir: filepath.Join(row.dir, "ca")})
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		(&house{authority: authority}).cautionDoors(loaded(t, environment{"HOME": "/home/u"}, row.flags), zerolog.New(&said))
		if got := said.String(); (got == "") != (row.want == "") || !strings.Contains(got, row.want) {
			t.Errorf("%s: got %q, want %q", row.what, got, row.want)
		}
	}
}
