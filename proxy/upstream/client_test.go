package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/testdata/world"
	"github.com/entrepot/entrepot/testdata/world/leaks"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }

// port is a world with a client in front of it.
type port struct {
	*world.World
	t      *testing.T
	client *Client
	table  *hosts.Table
}

func newPort(t *testing.T) *port {
	t.Helper()
	w := world.New(t, world.Options{})
	table, err := hosts.New(append(hosts.Defaults(), hosts.Registry{Name: "reg.corp.test"}))
	if err != nil {
		t.Fatal(err)
	}
	p := &port{w, t, New(Config{Dial: w.Dial, Roots: w.Roots, Agent: "entrepot", Via: "us"}), table}
	t.Cleanup(p.client.Close)
	return p
}

// ask is a question of an API path to a registry, as a pull asks it.
func (p *port) ask(registry, path string, header ...string) (*http.Response, string, error) {
	p.t.Helper()
	reg, ok := p.table.Lookup(registry)
	if !ok {
		p.t.Fatalf("no registry %s", registry)
	}
	q := Request{Registry: reg, Base: reg.UpstreamURL(registry), Method: "GET", Path: path, Header: http.Header{}, Kind: "blob"}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Scope" {
			q.Scope = header[i+1]
			continue
		}
		q.Header.Set(header[i], header[i+1])
	}
	resp, err := p.client.Do(p.t.Context(), q)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// redirect makes a host answer one request for path by a redirect.
func (p *port) redirect(host, path string, status int, location string) {
	p.Host(host).Fault(world.Fault{
		Kind: world.Status, Status: status, Header: map[string]string{"Location": location},
		Match: func(r *http.Request) bool { return r.URL.Path == path },
	})
}

func TestRedirects(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, row := range []struct{ location, want string }{
			{"https://unknown.example.org/there?x=1", "echo GET /there?x=1 from unknown.example.org"},
			{"//unknown.example.org/there", "echo GET /there from unknown.example.org"},
			{"/v2/app/blobs/there", "BLOB_UNKNOWN"},
			{"there", "BLOB_UNKNOWN"},
			{"../blobs/there", "BLOB_UNKNOWN"},
		} {
			p := newPort(t)
			p.redirect("reg.corp.test", "/v2/app/blobs/here", status, row.location)
			_, body, err := p.ask("reg.corp.test", "/v2/app/blobs/here")
			if err != nil || !strings.Contains(body, row.want) {
				t.Errorf("%d to %s: got %q, %v, want %q", status, row.location, body, err, row.want)
			}
			if row.want == "BLOB_UNKNOWN" && p.Requests()[1].Path != "/v2/app/blobs/there" {
				t.Errorf("%d to %s: asked for %s", status, row.location, p.Requests()[1].Path)
			}
		}
	}
}

func TestRedirectsRefused(t *testing.T) {
	for location, words := range map[string]string{
		"http://unknown.example.org/x": "from https to http",
		"ftp://unknown.example.org/x":  "refused",
		"file:///etc/passwd":           "refused",
		"":                             "without a Location",
		"https://":                     "refused",
		"https://user:pw@unknown.example.org/sig": "refused",
		"https://unknown.example.org/%zz?sig=s3c": "malformed",
	} {
		p := newPort(t)
		p.redirect("reg.corp.test", "/v2/here", 302, location)
		_, _, err := p.ask("reg.corp.test", "/v2/here")
		var own *Error
		if !errors.As(err, &own) || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "s3c") || strings.Contains(err.Error(), "pw") {
			t.Errorf("to %q: got %v, want an error with %q", location, err, words)
		}
		if n := p.Host("unknown.example.org").Counts().Requests; n > 0 {
			t.Errorf("to %q: it was followed", location)
		}
	}
}

func TestTenRedirects(t *testing.T) {
	for hops, ok := range map[int]bool{10: true, 11: false} {
		p := newPort(t)
		for i := range hops {
			p.redirect("reg.corp.test", fmt.Sprintf("/v2/hop/%d", i), 307, fmt.Sprintf("/v2/hop/%d", i+1))
		}
		_, _, err := p.ask("reg.corp.test", "/v2/hop/0")
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "more than 10 redirects") {
			t.Errorf("%d redirects: got %v, want success %v", hops, err, ok)
		}
		if asked := len(p.Requests()); asked > 11 {
			t.Errorf("%d redirects: %d requests", hops, asked)
		}
	}
}

// TestCredentialsStayHome: the client's own credential arrives unchanged where it belongs and nowhere else, there and back again.
func TestCredentialsStayHome(t *testing.T) {
	for _, credential := range []string{"Basic eDp5", "Bearer a.b.c", "Custom x=y"} {
		p := newPort(t)
		var seen []string
		p.Host("reg.corp.test").Fault(world.Fault{Kind: world.HTML, Match: func(r *http.Request) bool {
			seen = append(seen, r.URL.Path+" "+r.Header.Get("Authorization")+r.Header.Get("Cookie"))
			return false
		}})
		p.redirect("reg.corp.test", "/v2/a", 307, "/v2/b")
		p.redirect("reg.corp.test", "/v2/b", 307, "https://cdn01.quay.io/elsewhere")
		p.redirect("cdn01.quay.io", "/elsewhere", 307, "https://reg.corp.test/v2/c")
		p.ask("reg.corp.test", "/v2/a", "Authorization", credential, "Cookie", "; c=d")
		want := []string{"/v2/a " + credential + "; c=d", "/v2/b " + credential + "; c=d", "/v2/c "}
		if strings.Join(seen, "\n") != strings.Join(want, "\n") {
			t.Errorf("the registry saw\n%q, want\n%q", seen, want)
		}
		p.NoLeaks(t)
	}
	// Another port is another host (CVE-2026-48978).
	p := newPort(t)
	var seen string
	p.Host("reg.corp.test").Fault(world.Fault{Kind: world.HTML, Match: func(r *http.Request) bool {
		seen += r.Host + "=" + r.Header.Get("Authorization") + " "
		return false
	}})
	p.redirect("reg.corp.test", "/v2/a", 307, "https://reg.corp.test:5001/v2/b")
	p.ask("reg.corp.test", "/v2/a", "Authorization", "Basic eA==")
	if seen != "reg.corp.test=Basic eA== reg.corp.test:5001= " {
		t.Errorf("another port: the registry saw %q", seen)
	}
}

// TestExpiredSignature: a storage's no is mended once by a fresh redirect; a second one is its answer.
func TestExpiredSignature(t *testing.T) {
	for _, status := range []int{403, 400, 401, 410} {
		for times, want := range map[int]int{1: 200, 2: status} {
			p := newPort(t)
			pushed := p.Push(t, "mcr.microsoft.com/app:1", world.Image(t, 1, 10<<10))
			p.Host("westeurope.data.mcr.microsoft.com").Fault(world.Fault{Kind: world.Status, Status: status, Times: times})
			resp, _, err := p.ask("mcr.microsoft.com", "/v2/app/blobs/"+pushed.Blobs[1])
			if err != nil || resp.StatusCode != want {
				t.Errorf("%d, %d times: got %v, %v, want %d", status, times, resp, err, want)
			}
			if got := p.Host("mcr.microsoft.com").Counts().BlobGets; got != 2 {
				t.Errorf("%d, %d times: the registry was asked %d times, want 2", status, times, got)
			}
		}
	}
	p := newPort(t) // a registry's own no is no matter of signatures
	p.Host("mcr.microsoft.com").Fault(world.Fault{Kind: world.Status, Status: 403, Times: -1})
	p.ask("mcr.microsoft.com", "/v2/app/blobs/x")
	if got := p.Host("mcr.microsoft.com").Counts().Requests; got != 1 {
		t.Errorf("after its own 403 the registry was asked %d times, want once", got)
	}
}

// TestWhatUpstreamSees: identity only, who we are, and a Via by which we know ourselves again.
func TestWhatUpstreamSees(t *testing.T) {
	p := newPort(t)
	p.ask("reg.corp.test", "/v2/")
	h := p.Requests()[0].Header
	if h.Get("Accept-Encoding") != "identity" || h.Get("User-Agent") != "entrepot" || h.Get("Via") != "1.1 us" {
		t.Errorf("got %v", h)
	}
	p.ask("reg.corp.test", "/v2/", "User-Agent", "docker/29")
	if got := p.Requests()[1].Header.Get("User-Agent"); got != "docker/29" {
		t.Errorf("got User-Agent %q, want the client's own", got)
	}
}

// TestPathIsNoHost: what a client puts into a path cannot choose the host.
func TestPathIsNoHost(t *testing.T) {
	p := newPort(t)
	for _, path := range []string{"//unknown.example.org/x", "///unknown.example.org/x", "/\\unknown.example.org", "/@unknown.example.org/", "/%2f/unknown.example.org"} {
		p.ask("reg.corp.test", path)
	}
	for _, r := range p.Requests() {
		if r.Host != "reg.corp.test" {
			t.Errorf("%s was asked", r.Host)
		}
	}
	if stray := p.StrayDials(); len(stray) > 0 {
		t.Errorf("dialled %q", stray)
	}
}
