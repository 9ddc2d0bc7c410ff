package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/bcrypt"
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

// TestAccessRefused: a fault in what decides who comes in is found before a door opens.
func TestAccessRefused(t *testing.T) {
	plain := file(t, "htpasswd", "ada:secret\n")
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"htpasswd that is not there", []string{"--htpasswd", plain + "x"}, []string{"entrepot: --htpasswd: ", "no such file", "see that it exists"}},
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
