package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

// slowRegistry hands out half of a blob and then waits until it is told to go on.
type slowRegistry struct {
	half, goOn chan struct{}
	config     string // a file that makes entrepot know it
}

const slowBlob, slowDigest = "0123456789", "sha256:84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"

func newSlowRegistry(t *testing.T) *slowRegistry {
	r := &slowRegistry{half: make(chan struct{}, 8), goOn: make(chan struct{})}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.config = file(t, "entrepot.yaml", fmt.Sprintf("registry: [{name: slow.example, upstream: %q, allow-net: [127.0.0.0/8]}]\n", server.URL))
	return r
}

func (r *slowRegistry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if !strings.Contains(q.URL.Path, "/blobs/") || q.Method == http.MethodHead {
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(slowBlob)))
	io.WriteString(w, slowBlob[:5])
	http.NewResponseController(w).Flush()
	r.half <- struct{}{}
	select {
	case <-r.goOn:
		io.WriteString(w, slowBlob[5:])
	case <-q.Context().Done():
	}
}

// pull starts a transfer that is under way when pull returns. What the client gets comes later.
func (r *slowRegistry) pull(t *testing.T, s *serving) <-chan string {
	t.Helper()
	got := make(chan string, 1)
	go func() { // ends with the transfer, which ends with s
		resp, err := http.Get(fmt.Sprintf("http://%s/v2/slow.example/a/b/blobs/%s", s.start["mirror"], slowDigest))
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		got <- fmt.Sprint(resp.StatusCode, " ", string(body), " ", err)
	}()
	select {
	case <-r.half:
	case early := <-got:
		t.Fatalf("got %s before the registry was asked", early)
	}
	return got
}

// TestDrain: a transfer that is under way at SIGTERM arrives whole.
func TestDrain(t *testing.T) { drains(t, syscall.SIGTERM) }

// TestSignalWithAnEcho: who asks once is told twice by timeout(1), which sends the signal to the process and to its group. That is no
// second wish.
func TestSignalWithAnEcho(t *testing.T) { drains(t, syscall.SIGTERM, syscall.SIGTERM) }

func drains(t *testing.T, signals ...syscall.Signal) {
	t.Helper()
	r := newSlowRegistry(t)
	s := serve(t, nil, "--config", r.config)
	got := r.pull(t, s)
	for _, signal := range signals {
		s.Process.Signal(signal)
	}
	s.until("closing")
	close(r.goOn)
	if text, want := <-got, "200 "+slowBlob+" <nil>"; text != want {
		t.Errorf("got %q, want %q", text, want)
	}
	if code := s.exit(); code != 0 {
		t.Errorf("got exit code %d, want 0: %s", code, s.stderr)
	}
}

// TestGraceIsOver: a transfer that does not end is cut off, and that is no failure.
func TestGraceIsOver(t *testing.T) {
	r := newSlowRegistry(t)
	s := serve(t, nil, "--config", r.config, "--grace", "50ms")
	got := r.pull(t, s)
	s.Process.Signal(syscall.SIGTERM)
	s.until("grace is over")
	if text := <-got; strings.HasSuffix(text, "<nil>") {
		t.Errorf("got %q, want a transfer that is seen to be broken", text)
	}
	if code := s.exit(); code != 0 {
		t.Errorf("got exit code %d, want 0: %s", code, s.stderr)
	}
}

// TestSecondSignal: who asks twice does not wait.
func TestSecondSignal(t *testing.T) {
	r := newSlowRegistry(t)
	s := serve(t, nil, "--config", r.config, "--grace", "10m")
	got := r.pull(t, s)
	s.Process.Signal(syscall.SIGTERM)
	s.until("closing")
	s.Process.Signal(syscall.SIGINT)
	<-got
	if code := s.exit(); code != 1 || !strings.Contains(s.stderr.String(), "entrepot: stopped at once by a second signal") {
		t.Errorf("got exit code %d and %q, want 1 and the reason", code, s.stderr)
	}
}
