package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/hosts"
)

func FuzzParseAPI(f *testing.F) {
	for _, seed := range []string{
		"/v2/", "/v2/library/alpine/manifests/3.20", "/v2/a/blobs/sha256:" + strings.Repeat("0", 64), "/v2/a/b/c/tags/list", "/v2/_catalog",
		"/v2/a/blobs/uploads/1", "/v2/a/referrers/sha512:x", "/v2/../manifests/x", "/v2/manifests/manifests/manifests/manifests", "//v2/", "/v1/search",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, asked string) {
		q := &request{}
		if q.parseAPI(asked) != nil {
			return
		}
		if q.kind != kindManifest && q.kind != kindBlob {
			return
		}
		again := &request{}
		to := q.apiPath(q.kind, q.ref)
		if path.Clean(to) != to || (&url.URL{Path: to}).EscapedPath() != to {
			t.Errorf("%q leads to %q, want a path that means one thing", asked, to)
		}
		if err := again.parseAPI(to); err != nil || again.repo != q.repo || again.ref != q.ref || again.digest != q.digest || again.kind != q.kind {
			t.Errorf("%q: got %+v, which reads as %+v, %v", asked, q, again, err)
		}
	})
}

// FuzzUsual: what is found from the last slash is what a search of the whole path finds.
func FuzzUsual(f *testing.F) {
	for _, seed := range []string{
		"a/manifests/1", "a/blobs/x", "a/blobs/uploads", "a/blobs/uploadsx", "a/blobs/", "/manifests/x", "manifests/x", "/blobs/x", "a/manifests/b/blobs/x",
		"a/blobs/uploads/manifests/x", "a/tags/list/manifests/1", "a/manifests/tags/list", "a/referrers/blobs/x", "a/manifests", "/", "", "a//blobs/x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		got, want := &request{}, &request{}
		if got.usual(rest) && (!want.search(rest) || got.kind != want.kind || got.repo != want.repo || got.ref != want.ref) {
			t.Errorf("%q: got %s of %q, %q, want %s of %q, %q", rest, got.kind, got.repo, got.ref, want.kind, want.repo, want.ref)
		}
	})
}

func FuzzMirrored(f *testing.F) {
	for _, seed := range []string{
		"/v2/alpine/manifests/1", "/v2/quay.io/a/b/manifests/1?ns=quay.io", "/quay.io/v2/a", "//quay.io/v2/", "/v2", "/a/v2/v2/", "/v2/?ns=a&ns=b", "/%2e%2e/v2/x?ns=%00",
	} {
		f.Add(seed)
	}
	table, err := hosts.New(hosts.Defaults())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, asked string) {
		u, err := url.ParseRequestURI(asked)
		if err != nil || u.Scheme != "" || u.Host != "" {
			return
		}
		host, path, err := mirrored(table, u)
		if err != nil || host == "" {
			return
		}
		if host != strings.ToLower(host) || path != "/v2" && !strings.HasPrefix(path, "/v2/") {
			t.Errorf("%q: got host %q, path %q", asked, host, path)
		}
		if _, known := table.Lookup(host); !known && u.Query().Get("ns") == "" && strings.HasPrefix(u.Path, "/v2/") {
			t.Errorf("%q: got the unknown host %q, which nobody asked for", asked, host)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	for _, seed := range []string{"bytes 0-9/10", "bytes 0-9/*", "bytes */10", "bytes 9-0/10", "bytes -1-5/10", "bytes 0-9223372036854775807/9223372036854775808", "items 0-1/2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		first, total, err := contentRange(field)
		if err != nil {
			if !errors.Is(err, cache.ErrMismatch) {
				t.Errorf("%q: got %v, want a mismatch", field, err)
			}
			return
		}
		if first < 0 || total != -1 && total <= first {
			t.Errorf("%q: got %d of %d", field, first, total)
		}
	})
}

func FuzzAdmits(f *testing.F) {
	f.Add(manifestTypes, typeOCIIndex)
	f.Add("*/*;q=0", "a/b")
	f.Add(" , ;;=,", "")
	f.Fuzz(func(t *testing.T, accept, kind string) {
		got := admits([]string{accept}, kind)
		if !admits([]string{accept, "*/*"}, kind) || !admits(nil, kind) {
			t.Errorf("%q: %q is not admitted by */*", accept, kind)
		}
		if got && !strings.Contains(strings.ToLower(accept), kind) && !strings.Contains(accept, "*") && !strings.Contains(strings.ToLower(accept), "application/*") {
			t.Errorf("%q admits %q", accept, kind)
		}
	})
}

func FuzzSniff(f *testing.F) {
	var hello bytes.Buffer
	tls.Client(recording{&hello}, &tls.Config{ServerName: "quay.io"}).Handshake()
	f.Add(hello.Bytes(), 0)
	f.Add(append(hello.Bytes(), "and more"...), 700)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 3)
	f.Add([]byte{22, 3, 1, 0, 0}, 5)
	f.Fuzz(func(t *testing.T, sent []byte, early int) {
		early = max(0, min(early, len(sent)))
		// Some of it came behind CONNECT, the rest comes later.
		w := &wire{Conn: &speaking{recording{io.Discard}, bytes.NewReader(sent[early:])}, replay: bytes.NewReader(sent[:early])}
		name, err := sniff(w)
		got, _ := io.ReadAll(w)
		if !bytes.Equal(got, sent) {
			t.Errorf("%x after %d early bytes: %x can be read again", sent, early, got)
		}
		if errors.Is(err, errNotTLS) && sent[0] == recordHandshake || err == nil && strings.ContainsAny(name, "/\x00 ") {
			t.Errorf("%x: got %q, %v", sent, name, err)
		}
	})
}

// speaking has something to read.
type speaking struct {
	recording
	r io.Reader
}

func (s *speaking) Read(p []byte) (int, error) { return s.r.Read(p) }

func FuzzOwnLink(f *testing.F) {
	f.Add(`</v2/a/tags/list?last=b&n=2>; rel="next"`, "/v2/quay.io/a/tags/list?ns=quay.io")
	f.Add(`<https://evil.example.org/v2/>;rel=next`, "/v2/a/tags/list")
	f.Add(`<//evil.example.org/>`, "/v2/a/tags/list?n=1")
	f.Fuzz(func(t *testing.T, link, asked string) {
		u, err := url.ParseRequestURI(asked)
		if err != nil || u.Scheme != "" || !strings.HasPrefix(u.Path, "/v2/") {
			return
		}
		got := (&request{}).ownLink(link, u)
		if got == link {
			return
		}
		target, _, found := strings.Cut(strings.TrimPrefix(got, "<"), ">")
		to, err := url.Parse(target)
		if !found || err != nil || to.Host != "" || to.Path != u.Path {
			t.Errorf("%q asked by %q: got %q, want it to lead to the path that was asked", link, asked, got)
		}
	})
}

// FuzzNames compares the hand-written grammar with the text of the specification (OCI distribution-spec, "Pulling manifests").
func FuzzNames(f *testing.F) {
	name := regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tag := regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	for _, seed := range []string{
		"library/alpine", "a", "", "a/", "/a", "a//b", "a__b", "a___b", "a--b", "a-_b", "a.b", "a..b", "a_", "-a", "A", "a/b.c_d/e---f", "v1.2-3_4", ".a", "é", "a\n",
		strings.Repeat("a", maxTag), strings.Repeat("a", maxTag+1), strings.Repeat("a", maxName), strings.Repeat("a", maxName+1),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := validName(s), len(s) <= maxName && name.MatchString(s); got != want {
			t.Errorf("name %q: got %v, want %v", s, got, want)
		}
		if got, want := validTag(s), tag.MatchString(s); got != want {
			t.Errorf("tag %q: got %v, want %v", s, got, want)
		}
	})
}

func FuzzJudgeManifest(f *testing.F) {
	for _, seed := range []string{
		`{"schemaVersion":2,"mediaType":"` + typeOCIIndex + `","manifests":[]}`, `{"schemaVersion":2,"config":{},"layers":[]}`, `{"schemaVersion":1}`,
		`{"schemaVersion":2,"manifests":[{}],"layers":[{}]}`, `[]`, `null`, `{"MEDIATYPE":"x"}`, `{"architecture":"amd64","config":{}}`,
	} {
		f.Add([]byte(seed), typeOCIManifest)
		f.Add([]byte(seed), "text/html")
	}
	f.Fuzz(func(t *testing.T, body []byte, said string) {
		m, err := parseManifest(body)
		if err != nil {
			return
		}
		kind, err := m.judge(said)
		if err != nil {
			return
		}
		if !isManifestType(kind) || strings.HasPrefix(kind, typeDockerSchema1) {
			t.Errorf("%q said to be %q: got %q", body, said, kind)
		}
		for _, c := range m.children() {
			if c.digest.IsZero() || c.size < 0 {
				t.Errorf("%q: got the child %+v", body, c)
			}
		}
	})
}
