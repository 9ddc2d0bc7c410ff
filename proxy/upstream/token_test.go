package upstream

import (
	"errors"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

const (
	alpine      = "/v2/library/alpine/manifests/3.20"
	alpineScope = "repository:library/alpine:pull"
)

func (p *port) pull() (status int, err error) {
	resp, _, err := p.ask("docker.io", alpine, "Scope", alpineScope, "Accept", "*/*")
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}

func newHub(t *testing.T) *port {
	p := newPort(t)
	p.Push(t, "docker.io/library/alpine:3.20", world.Image(t, 1, 10<<10))
	return p
}

// TestTokenLife: a token is got once, used until shortly before its end, and replaced when it ends or is refused early. (That one in use
// is replaced before: renew_test.go.)
func TestTokenLife(t *testing.T) {
	p := newHub(t)
	var ahead atomic.Int64
	p.client.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	later := func(d time.Duration) {
		ahead.Add(int64(d))
		p.Advance(d)
	}
	for _, step := range []struct {
		what   string
		before func()
		tokens int
	}{
		{"first", func() {}, 1},
		{"second", func() {}, 1},
		{"half through", func() { later(140 * time.Second) }, 1},
		{"at its end", func() { later(155 * time.Second) }, 2},
		{"ended by the realm", p.ExpireTokens, 3},
	} {
		step.before()
		status, err := p.pull()
		if got := p.Host("auth.docker.io").Counts().Tokens; err != nil || status != 200 || got != step.tokens {
			t.Errorf("%s: got %d, %v with %d tokens, want 200 with %d", step.what, status, err, got, step.tokens)
		}
	}
	p.NoLeaks(t)
}

func TestOneTokenForAll(t *testing.T) {
	p := newHub(t)
	held := p.Host("auth.docker.io").Fault(world.Fault{Kind: world.Delay})
	var wg sync.WaitGroup
	var refused atomic.Int64
	for range 50 {
		wg.Go(func() {
			if status, err := p.pull(); status != 200 || err != nil {
				t.Errorf("got %d, %v", status, err)
			}
			refused.Add(1)
		})
	}
	<-held.Hit()
	for p.Host("registry-1.docker.io").Counts().Requests < 50 {
		runtime.Gosched() // until all 50 are on their way to the realm
	}
	held.Release()
	wg.Wait()
	if got := p.Host("auth.docker.io").Counts().Tokens; got != 1 {
		t.Errorf("got %d requests for tokens, want 1", got)
	}
}

func TestRealmAnswers(t *testing.T) {
	for _, row := range []struct {
		what    string
		fault   world.Fault
		refused bool   // the realm's no, for the client to hear
		words   string // of the error; "" where there is none
	}{
		{"only access_token", world.Fault{Kind: world.Status, Status: 200, Body: `{"access_token":"x"}`}, false, ""},
		{"401", world.Fault{Kind: world.Status, Status: 401}, true, "no anonymous token"},
		{"403", world.Fault{Kind: world.Status, Status: 403}, true, "no anonymous token"},
		{"404", world.Fault{Kind: world.Status, Status: 404}, true, "no anonymous token"},
		{"429", world.Fault{Kind: world.Status, Status: 429}, false, "429"},
		{"503", world.Fault{Kind: world.Status, Status: 503}, false, "503"},
		{"no token", world.Fault{Kind: world.Status, Status: 200, Body: `{}`}, false, "has no token"},
		{"no JSON", world.Fault{Kind: world.HTML}, false, "not JSON"},
		{"endless", world.Fault{Kind: world.Status, Status: 200, Body: `{"token":"` + strings.Repeat("x", 2<<20) + `"}`}, false, "not JSON"},
		{"two lines", world.Fault{Kind: world.Status, Status: 200, Body: `{"token":"a\r\nX-Evil: 1"}`}, false, "invalid"},
	} {
		p := newHub(t)
		p.Host("auth.docker.io").Fault(row.fault)
		_, err := p.pull()
		var own *Error
		switch {
		case row.words == "" && err != nil, row.words != "" && (err == nil || !strings.Contains(err.Error(), row.words)):
			t.Errorf("%s: got %v, want %q", row.what, err, row.words)
		case IsRefused(err) != row.refused, row.words != "" && !row.refused && !errors.As(err, &own):
			t.Errorf("%s: got a %T, want refused %v", row.what, err, row.refused)
		}
	}
}

// TestRealmsAreTrustedInPairs: a registry cannot send us, or what we hold, anywhere it likes (CVE-2026-33540).
func TestRealmsAreTrustedInPairs(t *testing.T) {
	for realm, words := range map[string]string{
		"https://unknown.example.org/token":            "not a known token realm of docker.io",
		"https://auth.docker.io.example.org/token":     "not a known token realm",
		"https://quay.io/v2/auth":                      "not a known token realm",
		"http://auth.docker.io/token":                  "not https",
		"http://169.254.169.254/latest/meta-data":      "not https",
		"https://169.254.169.254/latest/meta-data":     "not a known token realm",
		"https://user:secret@auth.docker.io/token":     "a name or a password",
		"//auth.docker.io/token":                       "not https",
		"/token":                                       "not a URL",
		"https://auth.docker.io:8443/token":            "not a known token realm",
		"https://unknown.example.org/token?sig=secret": "not a known token realm",
	} {
		p := newHub(t)
		p.Host("registry-1.docker.io").Fault(world.Fault{
			Kind: world.Status, Status: 401, Header: map[string]string{"WWW-Authenticate": `Bearer realm="` + realm + `",service="x"`},
		})
		_, err := p.pull()
		if err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "secret") {
			t.Errorf("realm %s: got %v, want %q", realm, err, words)
		}
		if n := len(p.Requests()); n != 1 {
			t.Errorf("realm %s: somebody was asked:\n%s", realm, p.Story())
		}
	}
}

func TestParseChallenges(t *testing.T) {
	type params = map[string]string
	for _, row := range []struct {
		fields []string
		want   []Challenge
	}{
		{nil, nil},
		{[]string{`Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"`}, []Challenge{{"bearer", params{"realm": "https://a/t", "service": "s", "scope": "repository:a/b:pull,push"}}}},
		{[]string{`Basic realm="x", Bearer REALM=y`}, []Challenge{{"basic", params{"realm": "x"}}, {"bearer", params{"realm": "y"}}}},
		{[]string{`Negotiate`, `NTLM`}, []Challenge{{"negotiate", params{}}, {"ntlm", params{}}}},
		{[]string{`Bearer realm="a\"b\\c"`}, []Challenge{{"bearer", params{"realm": `a"b\c`}}}},
		{[]string{`Bearer realm = "x" , service = y`}, []Challenge{{"bearer", params{"realm": "x", "service": "y"}}}},
		{[]string{`Bearer realm="unclosed`}, []Challenge{{"bearer", params{"realm": "unclosed"}}}},
		{[]string{`, ,Bearer  realm=x,,`}, []Challenge{{"bearer", params{"realm": "x"}}}},
		{[]string{`"" = ;`}, nil},
	} {
		if got := ParseChallenges(row.fields); !reflect.DeepEqual(got, row.want) {
			t.Errorf("%q: got %v, want %v", row.fields, got, row.want)
		}
	}
}

func FuzzParseChallenges(f *testing.F) {
	for _, seed := range []string{`Bearer realm="https://a/t",service="s"`, `Basic realm=x, Digest a=b`, `a="\`, `=,=`, "B\x00 r=\"\xff\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		for _, c := range ParseChallenges([]string{field, field}) {
			if c.Scheme == "" || c.Scheme != strings.ToLower(c.Scheme) || c.Params == nil {
				t.Errorf("%q: got %+v", field, c)
			}
		}
	})
}
