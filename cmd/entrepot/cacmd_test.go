package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrepot/entrepot/ca"
)

// ran runs the program, which must succeed, and returns what it said.
func ran(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, code := output(t, nil, args...)
	if code != 0 {
		t.Fatalf("%v: got exit code %d, want 0: %s", args, code, stderr)
	}
	return stdout, stderr
}

// refused runs the program, which must not succeed, and looks for words in its reason.
func refused(t *testing.T, words []string, args ...string) {
	t.Helper()
	_, stderr, code := output(t, nil, args...)
	if code != 1 {
		t.Errorf("%v: got exit code %d, want 1", args, code)
	}
	for _, word := range words {
		if !strings.Contains(stderr, word) {
			t.Errorf("%v: got %q, want %q in it", args, stderr, word)
		}
	}
}

// shakeHands asks the proxy door for a registry as a client that trusts these roots, and returns whether it got in.
func (s *serving) shakeHands(roots *x509.CertPool) error {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.start["proxy"].(string))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "CONNECT quay.io:443 HTTP/1.1\r\nHost: quay.io:443\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("CONNECT: got %v, %v", resp, err)
	}
	return tls.Client(conn, &tls.Config{ServerName: "quay.io", RootCAs: roots}).Handshake()
}

// givenOut is what /ca.crt gives.
func (s *serving) givenOut() string {
	s.t.Helper()
	resp, err := http.Get("http://" + s.start["mirror"].(string) + "/ca.crt")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(body)
}

// metric is the value of one that has no labels.
func (s *serving) metric(name string) float64 {
	s.t.Helper()
	resp, err := http.Get("http://" + s.start["admin"].(string) + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		var value float64
		if n, _ := fmt.Sscanf(lines.Text(), name+" %g", &value); n == 1 {
			return value
		}
	}
	s.t.Fatalf("no metric %s", name)
	return 0
}

func trusting(pem string) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(pem))
	return pool
}

// TestCARotate: a running server goes through a change-over at SIGHUP, and clients that did as they were told at the step before are
// let in at each.
func TestCARotate(t *testing.T) {
	dir := t.TempDir()
	s := serveIn(t, dir, nil)
	before := s.givenOut()
	steps := []struct {
		flag           string
		roots          int
		old, new, both bool // who is let in
		said           string
	}{
		{"", 2, true, false, true, "ca rotate --switch"},
		{"--switch", 2, false, true, true, "ca rotate --finish"},
		{"--back", 2, true, false, true, "ca rotate --switch"},
		{"--switch", 2, false, true, true, "ca rotate --back"},
		{"--finish", 1, false, true, true, "ca install"},
	}
	var after, both string
	for _, step := range steps {
		args := []string{"ca", "rotate", "--data-dir", dir}
		if step.flag != "" {
			args = append(args, step.flag)
		}
		if said, _ := ran(t, args...); !strings.Contains(said, step.said) || !strings.Contains(said, "SIGHUP") {
			t.Errorf("rotate %s: got %q, want SIGHUP and %q in it", step.flag, said, step.said)
		}
		s.Process.Signal(syscall.SIGHUP)
		if got := s.until("reloaded")["ca_roots"]; got != float64(step.roots) {
			t.Errorf("rotate %s: got %v roots in the log, want %d", step.flag, got, step.roots)
		}
		given := s.givenOut()
		if after == "" {
			both, after = given, strings.TrimPrefix(given, before)
		}
		if got := strings.Count(given, "BEGIN CERTIFICATE"); got != step.roots || strings.Contains(given, "KEY") {
			t.Errorf("rotate %s: /ca.crt gives %q, want %d certificates and nothing else", step.flag, given, step.roots)
		}
		if exported, _ := ran(t, "ca", "export", "--data-dir", dir); exported != given {
			t.Errorf("rotate %s: `ca export` gives %q, want what /ca.crt gives", step.flag, exported)
		}
		for _, client := range []struct {
			name, roots string
			want        bool
		}{{"old", before, step.old}, {"new", after, step.new}, {"both", both, step.both}} {
			if err := s.shakeHands(trusting(client.roots)); (err == nil) != client.want {
				t.Errorf("rotate %s: a client that trusts %s: got error %v, want that it is let in to be %v", step.flag, client.name, err, client.want)
			}
		}
	}
	for _, gone := range []string{"ca.old.crt", "ca.old.key", "ca.next.crt", "ca.next.key"} {
		if _, err := os.Stat(filepath.Join(dir, "ca", gone)); !os.IsNotExist(err) {
			t.Errorf("%s at the end: got %v, want none", gone, err)
		}
	}
}

// TestCAShowInAChangeOver: both fingerprints, and the next step.
func TestCAShowInAChangeOver(t *testing.T) {
	dir := t.TempDir()
	ran(t, "ca", "init", "--data-dir", dir)
	for _, step := range []struct {
		args []string
		want []string
	}{
		{[]string{"ca", "rotate"}, []string{"certificate  " + dir + "/ca/ca.crt", "next         " + dir + "/ca/ca.next.crt", "change-over  announced", "--switch"}},
		{[]string{"ca", "rotate", "--switch"}, []string{"certificate  " + dir + "/ca/ca.crt", "old          " + dir + "/ca/ca.old.crt", "change-over  switched", "--finish"}},
	} {
		ran(t, append(step.args, "--data-dir", dir)...)
		shown, _ := ran(t, "ca", "show", "--data-dir", dir)
		now, err := ca.Look(ca.Config{Dir: dir + "/ca"})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range append(step.want, now.Roots[0].Fingerprint(), now.Roots[1].Fingerprint()) {
			if !strings.Contains(shown, want) {
				t.Errorf("got %q, want %q in it", shown, want)
			}
		}
	}
}

// TestCACommandsRefuse: what a command will not do, and what to do instead.
func TestCACommandsRefuse(t *testing.T) {
	dir, empty := t.TempDir(), t.TempDir()
	ran(t, "ca", "init", "--data-dir", dir)
	own := ownCA(t, 90*24*time.Hour)
	for _, tt := range []struct {
		words []string
		args  []string
	}{
		{[]string{"file already exists", "`ca rotate`"}, []string{"ca", "init", "--data-dir", dir}},
		{[]string{"ca.crt: no such file", "`entrepot ca init`"}, []string{"ca", "rotate", "--data-dir", empty}},
		{[]string{"`entrepot ca init`"}, []string{"ca", "export", "--data-dir", empty}},
		{[]string{"no next root", "begin with: entrepot ca rotate"}, []string{"ca", "rotate", "--switch", "--data-dir", dir}},
		{[]string{"got 2 steps at once, want one"}, []string{"ca", "rotate", "--switch", "--finish", "--data-dir", dir}},
		{[]string{"--constrain does not go with --switch"}, []string{"ca", "rotate", "--switch", "--constrain", "--data-dir", dir}},
		{[]string{own.cert, "is yours", "SIGHUP"}, append([]string{"ca", "rotate"}, own.flags()...)},
		{[]string{own.cert, "is yours", "SIGHUP"}, append([]string{"ca", "init"}, own.flags()...)},
		{[]string{`--format: got "p12", want pem or der`}, []string{"ca", "export", "--format", "p12", "--data-dir", dir}},
		{[]string{"holds a private key", "hint: name another file"}, []string{"ca", "export", "--out", dir + "/ca/ca.key", "--data-dir", dir}},
		{[]string{`ca rotate: unexpected word "switch"`, "entrepot ca rotate --help"}, []string{"ca", "rotate", "switch"}},
	} {
		refused(t, tt.words, tt.args...)
	}
	if entries, _ := filepath.Glob(empty + "/*"); len(entries) > 0 {
		t.Errorf("refusing has made %v", entries)
	}
}

// TestCAOfAnotherUser: a key that root makes is one that the server cannot read.
func TestCAOfAnotherUser(t *testing.T) {
	dir := "/usr" // of root, for whoever is not
	if os.Geteuid() == 0 {
		dir = t.TempDir()
		if err := os.Chown(dir, 65532, 65532); err != nil {
			t.Fatal(err)
		}
	}
	for _, verb := range []string{"init", "rotate"} {
		refused(t, []string{dir + " belongs to user", "hint: run it as that user: sudo -u '#"}, "ca", verb, "--data-dir", dir)
	}
}

func TestCAExport(t *testing.T) {
	dir := t.TempDir()
	ran(t, "ca", "init", "--data-dir", dir)
	out := filepath.Join(t.TempDir(), "entrepot.crt")
	ran(t, "ca", "export", "--out", out, "--data-dir", dir)
	if got, want := page(t, out), page(t, dir+"/ca/ca.crt"); got != want {
		t.Errorf("--out: got %q, want %q", got, want)
	}
	der, _ := ran(t, "ca", "export", "--format", "der", "--data-dir", dir)
	block, _ := pem.Decode([]byte(page(t, out)))
	if der != string(block.Bytes) {
		t.Errorf("--format der: got %q, want the bytes of the PEM file", der)
	}
	ran(t, "ca", "rotate", "--data-dir", dir)
	refused(t, []string{"DER holds one certificate", "clients must trust 2", "hint: export it as PEM"}, "ca", "export", "--format", "der", "--data-dir", dir)
}

// own is an operator's CA in files.
type own struct {
	cert, key string
}

func (o own) flags() []string { return []string{"--ca-cert", o.cert, "--ca-key", o.key} }

// ownCA makes one that ends after a while.
func ownCA(t *testing.T, life time.Duration) own {
	t.Helper()
	dir := t.TempDir()
	o := own{dir + "/own.crt", dir + "/own.key"}
	o.renew(t, life)
	return o
}

// renew puts another CA in place of what is there.
func (o own) renew(t *testing.T, life time.Duration) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "own CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	o.write(t, o.cert, "CERTIFICATE", der)
	o.write(t, o.key, "PRIVATE KEY", keyDER)
}

func (o own) write(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCAOfOperatorIsReloaded: other files under the same names act at SIGHUP, and broken ones leave the old CA in force.
func TestCAOfOperatorIsReloaded(t *testing.T) {
	o := ownCA(t, 365*24*time.Hour)
	s := serve(t, nil, o.flags()...)
	first := page(t, o.cert)
	if err := os.WriteFile(o.cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Process.Signal(syscall.SIGHUP)
	if line := s.until("not reloaded"); line["level"] != "error" || !strings.Contains(fmt.Sprint(line["error"]), o.cert) {
		t.Errorf("got %v, want an error that names %s", line, o.cert)
	}
	if err := s.shakeHands(trusting(first)); err != nil {
		t.Errorf("with a broken file: got error %v, want the old CA in force", err)
	}
	o.renew(t, 365*24*time.Hour)
	s.Process.Signal(syscall.SIGHUP)
	s.until("reloaded")
	if err := s.shakeHands(trusting(page(t, o.cert))); err != nil {
		t.Errorf("with other files: got error %v, want the new CA in force", err)
	}
	block, _ := pem.Decode([]byte(page(t, o.cert)))
	now, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.metric("entrepot_ca_expiry_timestamp_seconds"), float64(now.NotAfter.Unix()); got != want {
		t.Errorf("metric: got an end at %f, want %f", got, want)
	}
	if err := s.shakeHands(trusting(first)); err == nil {
		t.Error("with other files: a client of the old CA is let in")
	}
}
