package world_test

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

// answer is a response read to its end.
type answer struct {
	*http.Response
	body string
	err  error // of reading the body
}

// try sends one request and follows nothing. Headers are "Key: value".
func try(t *testing.T, w *world.World, method, url string, headers ...string) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range headers {
		key, value, _ := strings.Cut(line, ": ")
		req.Header.Set(key, value)
	}
	resp, err := w.Transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	if err := resp.Body.Close(); err != nil {
		t.Errorf("close body: %v", err)
	}
	return answer{resp, string(body), err}, nil
}

// ask is try where an answer must come.
func ask(t *testing.T, w *world.World, method, url string, headers ...string) answer {
	t.Helper()
	a, err := try(t, w, method, url, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return a
}

func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s: got status %d, want %d; body %q", a.Request.Method, a.Request.URL, a.StatusCode, status, a.body)
	}
	return a
}

func (a answer) header(t *testing.T, key, want string) {
	t.Helper()
	if got := a.Header.Get(key); got != want {
		t.Errorf("%s %s: got %s %q, want %q", a.Request.Method, a.Request.URL, key, got, want)
	}
}

// location is where a redirect points, made absolute.
func (a answer) location(t *testing.T) string {
	t.Helper()
	u, err := a.Location()
	if err != nil {
		t.Fatalf("%s %s: %v", a.Request.Method, a.Request.URL, err)
	}
	return u.String()
}

// tokenFrom asks a realm and gives the header line to send.
func tokenFrom(t *testing.T, w *world.World, url string, headers ...string) string {
	t.Helper()
	a := ask(t, w, "GET", url, headers...).want(t, http.StatusOK)
	var body struct{ Token string }
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || body.Token == "" {
		t.Fatalf("token from %s: %v in %q", url, err, a.body)
	}
	return "Authorization: Bearer " + body.Token
}

// fakeT is a T that only remembers.
type fakeT struct {
	*testing.T
	errors []string
}

func (f *fakeT) Errorf(format string, _ ...any) { f.errors = append(f.errors, format) }

func silent() *log.Logger { return log.New(io.Discard, "", 0) }

// echoHost tells the Host header and the URL it saw.
func echoHost() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		_, _ = io.WriteString(rw, req.Host+" "+req.URL.RequestURI()) // the test sees what is missing
	})
}

// realDial resolves names by the world's numbers and dials for real.
func realDial(w *world.World) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		name, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		var d net.Dialer
		return d.DialContext(ctx, network, net.JoinHostPort(w.Host(name).Addr.String(), port))
	}
}
