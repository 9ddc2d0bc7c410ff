//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// badInput shows that what is wrong gets a clear error and harms nobody else.
func badInput(t *testing.T, u *upstream) {
	t.Run("start", func(t *testing.T) { badStarts(t, u) })
	e := startEntrepot(t, u)
	t.Run("no TLS on the TLS door", func(t *testing.T) { notTLS(t, e) })
	t.Run("CONNECT to nonsense", func(t *testing.T) { connectNonsense(t, e) })
	t.Run("malformed names and digests", func(t *testing.T) { malformed(t, e) })
}

// badStarts are the errors that must come before any door opens: exit code 1
// and a line that names what is wrong.
func badStarts(t *testing.T, u *upstream) {
	dir := filepath.Join(scratch(t), "data")
	config := filepath.Join(scratch(t), "entrepot.yaml")
	writeFile(t, config, "nonsense-key: 1\n")
	readOnly := filepath.Join(scratch(t), "read-only")
	if err := os.MkdirAll(readOnly, 0o755); err != nil {
		t.Fatal(err)
	}
	// Root may write wherever the file system can.
	if err := unix.Mount("tmpfs", readOnly, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(readOnly, 0) })
	taken, err := net.Listen("tcp", proxyAddr)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		want string // in what it prints
		busy bool   // the proxy's port is taken
	}{
		{"port in use", u.serveFlags(dir), "3128", true},
		{"unknown flag", []string{"serve", "--no-such-flag"}, "no-such-flag", false},
		{"bad value", u.serveFlags(dir, "--manifest-ttl", "banana"), "manifest-ttl", false},
		{"bad size", u.serveFlags(dir, "--max-size", "lots"), "max-size", false},
		{"bad address", u.serveFlags(dir, "--mirror-listen", "no-port"), "mirror-listen", false},
		{"unwritable directory", u.serveFlags(filepath.Join(readOnly, "data")), "read-only", false},
		{"directory below a file", u.serveFlags(filepath.Join(config, "data")), config, false},
		{"unknown key", u.serveFlags(dir, "--config", config), "nonsense-key", false},
		{"unknown key, checked only", []string{"config", "check", "--config", config}, "nonsense-key", false},
		{"missing config", u.serveFlags(dir, "--config", config+".missing"), config + ".missing", false},
	} {
		if !tt.busy {
			_ = taken.Close() // the first row had it; closing again does no harm
		}
		t.Run(tt.name, func(t *testing.T) { refuses(t, tt.args, tt.want) })
	}
}

// refuses shows that the command line ends at once with exit code 1 and a
// short text that names the cause.
func refuses(t *testing.T, args []string, want string) {
	t.Helper()
	cmd := command(nil, entrepotBinary(), args...)
	late := time.AfterFunc(15*time.Second, func() { _ = cmd.Process.Kill() })
	out, err := try(cmd)
	if !late.Stop() {
		t.Fatalf("it does not end:\n%s", out)
	}
	exit, ok := err.(*exec.ExitError)
	if !ok || exit.ExitCode() != 1 {
		t.Errorf("got %v, want exit status 1", err)
	}
	if !strings.Contains(out, want) || strings.Contains(out, "goroutine ") {
		t.Errorf("got %q, want a line with %q", out, want)
	}
	t.Logf("says: %s", strings.TrimSpace(out))
}

// notTLS sends what is no handshake, and half of one, to the TLS door. The
// door closes or says an alert; nothing hangs and others are served.
func notTLS(t *testing.T, e *entrepot) {
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: quay.io\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "\x16\x03\x01\xff\xff\x01", strings.Repeat("\x00", 1<<16),
	} {
		answer := talk(t, tlsAddr, text)
		t.Logf("%.20q is answered by %.40q", text, answer)
		e.healthy(t)
	}
}

func connectNonsense(t *testing.T, e *entrepot) {
	for _, to := range []string{
		"no.such.host.invalid:443", "quay.io:99999", ":::", "", "169.254.169.254:80", strings.Repeat("a", 300) + ":443",
	} {
		answer := talk(t, proxyAddr, "CONNECT "+to+" HTTP/1.1\r\nHost: "+to+"\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
		switch {
		case err != nil:
			t.Errorf("CONNECT %.40q: got %.80q, want an HTTP error", to, answer)
		case resp.StatusCode < 400:
			t.Errorf("CONNECT %.40q: got %s, want an error", to, resp.Status)
		default:
			t.Logf("CONNECT %.40q: %s", to, resp.Status)
		}
		e.healthy(t)
	}
}

// malformed asks the mirror door for what no registry can have. The answer is
// the protocol's JSON with a message for a person.
func malformed(t *testing.T, e *entrepot) {
	for _, path := range []string{
		"/v2/library/alpine/blobs/sha256:zzz",
		"/v2/library/alpine/blobs/md5:d41d8cd98f00b204e9800998ecf8427e",
		"/v2/library/alpine/manifests/sha256:12",
		"/v2/library/ALPINE/manifests/3.20",
		"/v2/library/alpine/manifests/-bad-tag",
		"/v2/library/..%2f..%2fetc/blobs/sha256:" + strings.Repeat("0", 64),
		"/v2/library/alpine/manifests/3.20?ns=169.254.169.254",
	} {
		resp, body := get(t, "http://"+mirrorAddr+path)
		var said struct {
			Errors []struct{ Code, Message string }
		}
		if err := json.Unmarshal([]byte(body), &said); err != nil || len(said.Errors) == 0 || said.Errors[0].Message == "" {
			t.Errorf("%s: got %q, want the registry protocol's errors", path, body)
		}
		if resp.StatusCode < 400 || resp.StatusCode >= 500 {
			t.Errorf("%s: got %s, want a 4xx", path, resp.Status)
		}
		t.Logf("%s: %s %s", path, resp.Status, strings.TrimSpace(body))
		e.healthy(t)
	}
}

// talk sends text on a connection and returns what comes until the other side
// closes it, or has said nothing for a moment.
func talk(t *testing.T, addr, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprint(c, text) // the door may have closed after the first bytes
	var answer strings.Builder
	buffer := make([]byte, 4096)
	for {
		n, err := c.Read(buffer)
		answer.Write(buffer[:n])
		if err != nil {
			return answer.String()
		}
		// An answer is there; its rest comes at once or not at all.
		_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	}
}
