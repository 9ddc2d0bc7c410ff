package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/entrepot/entrepot/testdata/world"
)

// TestPush: a push passes through untouched, and the next pull of the tag sees it, however fresh the old one was.
func TestPush(t *testing.T) {
	for _, w := range []way{{doorProxy, true}, {doorProxy, false}, {doorTLS, false}} {
		t.Run(w.String(), func(t *testing.T) {
			st := newSite(t)
			const ref = corp + "/team/app:v1"
			st.world.Push(t, ref, world.Image(t, 1, 50<<10))
			st.pull(w.door, ref)
			img := world.Image(t, 2, 300<<10, 10<<10)
			n, err := name.ParseReference(ref)
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(n, img, remote.WithTransport(st.by(w)), remote.WithContext(t.Context())); err != nil {
				t.Fatalf("push: %v\n%s", err, st.log)
			}
			want, _ := img.Digest()
			if got, _ := st.pull(w.door, ref).Digest(); got != want {
				t.Errorf("the next pull got %s, want %s", got, want)
			}
			for _, l := range st.log.requests(kindUpload) {
				if l.Cache != cacheBypass || l.Status >= 400 || l.Registry != corp || l.Repo != "team/app" {
					t.Errorf("log: got %+v", l)
				}
			}
		})
	}
}

// TestPushIsStreamed: the first bytes of an upload are upstream while the client still has the last, and upstream's early no comes
// back before the body is sent to a client that asks first.
func TestPushIsStreamed(t *testing.T) {
	st := newSite(t)
	arrived := make(chan string, 1)
	st.world.Host(corp).Fault(world.Fault{Kind: world.HTML, Method: "PATCH", Match: func(r *http.Request) bool {
		first := make([]byte, 5)
		io.ReadFull(r.Body, first)
		arrived <- string(first)
		return true
	}})
	pr, pw := io.Pipe()
	req, _ := http.NewRequestWithContext(t.Context(), "PATCH", "https://"+corp+"/v2/team/app/blobs/uploads/1", pr)
	done := make(chan error, 1)
	go func() {
		resp, err := st.by(way{doorProxy, false}).RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	pw.Write([]byte("first"))
	if got := <-arrived; got != "first" {
		t.Errorf("upstream got %q while the body is open", got)
	}
	pw.Close()
	<-done
}

// TestExpectContinue: a client that asks before it sends hears upstream's no and keeps its gigabytes.
func TestExpectContinue(t *testing.T) {
	for _, row := range []struct {
		status int
		sent   bool
	}{{401, false}, {201, true}} {
		st := newSite(t)
		if row.status == 401 {
			st.world.Account(corp, "ada", "right", "team/*")
		}
		body := &watched{Reader: bytes.NewReader(make([]byte, 100<<10))}
		tr := st.by(way{doorProxy, true})
		tr.ExpectContinueTimeout = patience
		req, _ := http.NewRequestWithContext(t.Context(), "PUT", "https://"+corp+"/v2/team/app/manifests/v1", body)
		req.ContentLength = 100 << 10
		if row.sent {
			manifest, _ := world.Image(t, 1, 10).RawManifest()
			body.Reader = bytes.NewReader(manifest)
			req.ContentLength = int64(len(manifest))
		}
		req.Header.Set("Content-Type", typeOCIManifest)
		req.Header.Set("Expect", "100-continue")
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != row.status || body.read.Load() != row.sent {
			t.Errorf("got %d, body sent %v, want %d and %v", resp.StatusCode, body.read.Load(), row.status, row.sent)
		}
	}
}

type watched struct {
	io.Reader
	read atomic.Bool
}

func (w *watched) Read(p []byte) (int, error) {
	w.read.Store(true)
	return w.Reader.Read(p)
}

func (w *watched) Close() error { return nil }

// TestListings: pages, catalogues and referrers are upstream's, a Link stays as it is in proxy mode and leads here again by the mirror.
func TestListings(t *testing.T) {
	st := newSite(t)
	for _, tag := range []string{"a", "b", "c"} {
		st.world.Push(t, corp+"/team/app:"+tag, world.Image(t, 1, 1<<10))
	}
	const link = `</v2/team/app/tags/list?last=b&n=2>; rel="next"`
	st.world.Host(corp).Fault(world.Fault{Kind: world.Headers, Times: -1, Header: map[string]string{"Link": link, "X-Other": "1"}, Match: func(r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/tags/list")
	}})
	for url, want := range map[string]string{
		"https://" + corp + "/v2/team/app/tags/list?n=2":                       link,
		st.mirror("/v2/" + corp + "/team/app/tags/list?n=2"):                   `</v2/` + corp + `/team/app/tags/list?last=b&n=2>; rel="next"`,
		st.mirror("/" + corp + "/v2/team/app/tags/list?n=2"):                   `</` + corp + `/v2/team/app/tags/list?last=b&n=2>; rel="next"`,
		st.mirror("/v2/team/app/tags/list?n=2&ns=" + corp):                     `</v2/team/app/tags/list?last=b&n=2&ns=` + corp + `>; rel="next"`,
		st.mirror("/v2/" + corp + "/team/app/tags/list?n=2&last=x&ns=" + corp): `</v2/` + corp + `/team/app/tags/list?last=b&n=2&ns=` + corp + `>; rel="next"`,
	} {
		door := doorProxy
		if strings.HasPrefix(url, "http:") {
			door = doorMirror
		}
		a := ask(t, st.transport(door), "GET", url)
		if a.StatusCode != 200 || a.Header.Get("Link") != want || !strings.Contains(string(a.body), `"tags"`) {
			t.Errorf("%s: got %d, Link %s, want %s", url, a.StatusCode, a.Header.Get("Link"), want)
		}
	}
	rt := st.by(way{doorProxy, false})
	for path, status := range map[string]int{
		"_catalog": 200, "team/app/referrers/sha256:" + strings.Repeat("0", 64): 0, "nothing/here/tags/list": 404,
	} {
		direct := ask(t, st.world.Transport, "GET", "https://"+corp+"/v2/"+path)
		a := ask(t, rt, "GET", "https://"+corp+"/v2/"+path)
		if a.StatusCode != direct.StatusCode || status != 0 && a.StatusCode != status || !bytes.Equal(a.body, direct.body) {
			t.Errorf("%s: got %d %s, want upstream's own %d %s", path, a.StatusCode, a.body, direct.StatusCode, direct.body)
		}
	}
	st.world.Host(corp).Heal()
	for _, w := range ways {
		for path, code := range map[string]string{
			"team/app/referrers/sha256:" + strings.Repeat("0", 64): codeUnsupported, "team/app/tags/list": codeNameUnknown, "team/app/other": codeUnsupported,
		} {
			st.world.Host(corp).Fault(world.Fault{Kind: world.Status, Status: 404, Body: "404 page not found", Match: func(r *http.Request) bool {
				return strings.HasSuffix(r.URL.Path, path)
			}})
			a := ask(t, st.by(w), "GET", st.url(w, corp, path))
			if a.StatusCode != 404 || w.door == doorMirror && !strings.Contains(string(a.body), code) {
				t.Errorf("%s: %s: got %d %s, want upstream's 404, and %s where it is told in words of ours", w, path, a.StatusCode, a.body, code)
			}
		}
	}
}

// TestShutdownDrains: a transfer under way ends; one that does not end within the grace is cut; nothing new begins; nothing is left.
func TestShutdownDrains(t *testing.T) {
	for _, w := range ways {
		for _, drains := range []bool{true, false} {
			t.Run(w.String()+map[bool]string{true: " drains", false: " is cut"}[drains], func(t *testing.T) {
				c := newCargo(t, faultySize)
				stall := c.world.Host(corp).Fault(world.Fault{Kind: world.Stall, At: 200 << 10, On: world.Blob, Method: "GET"})
				rt := c.by(w)
				done := make(chan answer, 1)
				go func() {
					a, err := try(t.Context(), rt, "GET", c.url(w, corp, c.path))
					a.err = errors.Join(a.err, err)
					done <- a
				}()
				<-stall.Hit()
				eventually(t, "the client is served", func() bool { return within("(*Server).sendBlob") > 0 })
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if !drains {
					cancel()
				}
				ended := make(chan error, 1)
				go func() { ended <- c.server.Shutdown(ctx) }()
				eventually(t, "the doors are closed", c.server.isClosing)
				if drains {
					if resp, _ := c.get("admin", "http://"+c.doors["admin"]+"/readyz"); resp.StatusCode != 503 {
						t.Errorf("/readyz: got %d while it drains, want 503", resp.StatusCode)
					}
					stall.Release()
				}
				a, err := <-done, <-ended
				if drains && (err != nil || a.err != nil || !bytes.Equal(a.body, c.content)) {
					t.Errorf("got %v; %d bytes, %v, want the whole", err, len(a.body), a.err)
				}
				if !drains && (!errors.Is(err, context.Canceled) || a.err == nil) {
					t.Errorf("got %v; %d bytes, %v, want it cut", err, len(a.body), a.err)
				}
				if n := within("(*Server).ServeHTTP"); n > 0 {
					t.Errorf("%d requests are still being served after Shutdown", n)
				}
			})
		}
	}
}

// TestShutdownCutsTunnels that do not end, when the grace does.
func TestShutdownCutsTunnels(t *testing.T) {
	st := newSite(t)
	c := st.connected("unknown.example.org:443")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	st.server.Shutdown(ctx)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the tunnel is open after Shutdown")
	}
}
