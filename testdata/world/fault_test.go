package world_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

// corp is a world with one blob that needs neither token nor redirect.
func corp(t *testing.T) (w *world.World, h *world.Host, blob, body string) {
	t.Helper()
	w = world.New(t, world.Options{})
	p := w.Push(t, "reg.corp.test/app:1", world.Image(t, 1, 100_000))
	blob = "https://reg.corp.test/v2/app/blobs/" + p.Blobs[1]
	body = ask(t, w, "GET", blob).want(t, 200).body
	return w, w.Host("reg.corp.test"), blob, body
}

func TestFaultsThatBreak(t *testing.T) {
	for _, scheme := range []string{"https", "http"} { // HTTP/2 and HTTP/1.1
		for _, kind := range []world.FaultKind{world.Cut, world.Reset} {
			t.Run(scheme+" "+string(kind), func(t *testing.T) {
				w, h, blob, body := corp(t)
				blob = strings.Replace(blob, "https", scheme, 1)
				fault := h.Fault(world.Fault{Kind: kind, At: 40_000, On: world.Blob})
				a, err := try(t, w, "GET", blob)
				if err == nil {
					err = a.err
				}
				if err == nil || len(a.body) > 40_000 || !strings.HasPrefix(body, a.body) {
					t.Errorf("got %d bytes and %v, want at most 40000 and an error", len(a.body), err)
				}
				// What a reset destroys on the way is the kernel's business.
				if kind == world.Cut && len(a.body) != 40_000 {
					t.Errorf("got %d bytes, want 40000", len(a.body))
				}
				<-fault.Hit()
				if got := ask(t, w, "GET", blob).want(t, 200).body; got != body || fault.Hits() != 1 {
					t.Errorf("after the fault: got %d bytes and %d hits", len(got), fault.Hits())
				}
			})
		}
	}
}

func TestFaultBeforeTheHeader(t *testing.T) {
	w, h, blob, _ := corp(t)
	for _, kind := range []world.FaultKind{world.Cut, world.Reset} {
		// HTTP/2 clients repeat what a reset connection has not answered.
		h.Fault(world.Fault{Kind: kind, At: -1, Times: -1})
		if _, err := try(t, w, "GET", strings.Replace(blob, "https", "http", 1)); err == nil {
			t.Errorf("%s at -1: got an answer", kind)
		}
		h.Heal()
	}
}

func TestFaultsThatLie(t *testing.T) {
	for _, c := range []struct {
		fault   world.Fault
		headers []string
		check   func(t *testing.T, a answer, body string)
	}{
		{world.Fault{Kind: world.Corrupt, At: 70_000}, nil, func(t *testing.T, a answer, body string) {
			differ := 0
			for i := range body {
				if i < len(a.body) && a.body[i] != body[i] {
					differ++
				}
			}
			if len(a.body) != len(body) || differ != 1 || a.body[70_000] == body[70_000] {
				t.Errorf("got %d of %d bytes, %d differ", len(a.body), len(body), differ)
			}
		}},
		{world.Fault{Kind: world.Truncate, At: 5}, nil, func(t *testing.T, a answer, body string) {
			if a.err != nil || a.body != body[:5] || a.ContentLength != 5 {
				t.Errorf("got %q of length %d, %v", a.body, a.ContentLength, a.err)
			}
		}},
		{world.Fault{Kind: world.WrongLength, At: 100_001}, nil, func(t *testing.T, a answer, body string) {
			if a.err == nil || a.ContentLength != 100_001 || a.body != body {
				t.Errorf("got %d bytes of %d, %v", len(a.body), a.ContentLength, a.err)
			}
		}},
		{world.Fault{Kind: world.Chunked}, nil, func(t *testing.T, a answer, body string) {
			if a.ContentLength != -1 || a.body != body {
				t.Errorf("got %d bytes of %d", len(a.body), a.ContentLength)
			}
		}},
		{world.Fault{Kind: world.Status, Status: 503, Body: "down", Header: map[string]string{"Retry-After": "7"}}, nil, func(t *testing.T, a answer, _ string) {
			a.want(t, 503).header(t, "Retry-After", "7")
			if a.body != "down" {
				t.Errorf("got %q", a.body)
			}
		}},
		{world.Fault{Kind: world.HTML}, nil, func(t *testing.T, a answer, _ string) {
			a.want(t, 200).header(t, "Content-Type", "text/html; charset=utf-8")
		}},
		{world.Fault{Kind: world.ContentEncoding}, []string{"Accept-Encoding: identity"}, func(t *testing.T, a answer, body string) {
			a.want(t, 200).header(t, "Content-Encoding", "gzip")
			if !strings.HasPrefix(a.body, "\x1f\x8b") || a.body == body {
				t.Error("got no gzip")
			}
		}},
		{world.Fault{Kind: world.NoRange}, []string{"Range: bytes=10-19"}, func(t *testing.T, a answer, body string) {
			if a.want(t, 200).body != body {
				t.Errorf("got %d bytes", len(a.body))
			}
		}},
		{world.Fault{Kind: world.WrongRange}, []string{"Range: bytes=10-19"}, func(t *testing.T, a answer, body string) {
			a.want(t, 206).header(t, "Content-Range", "bytes 11-20/100001")
			if a.body != body[10:20] {
				t.Error("got other bytes")
			}
		}},
		{world.Fault{Kind: world.Headers, Header: map[string]string{"Docker-Content-Digest": "", "X-A": "b"}}, nil, func(t *testing.T, a answer, _ string) {
			a.header(t, "Docker-Content-Digest", "")
			a.header(t, "X-A", "b")
		}},
		{world.Fault{Kind: world.Slow, Rate: 1_000_000, At: 50_000}, nil, func(t *testing.T, a answer, body string) {
			if a.body != body {
				t.Errorf("got %d bytes", len(a.body))
			}
		}},
	} {
		t.Run(string(c.fault.Kind), func(t *testing.T) {
			w, h, blob, body := corp(t)
			fault := h.Fault(c.fault)
			c.check(t, ask(t, w, "GET", blob, c.headers...), body)
			<-fault.Hit()
			if got := ask(t, w, "GET", blob).want(t, 200).body; got != body {
				t.Errorf("after the fault: got %d bytes, want %d", len(got), len(body))
			}
		})
	}
}

func TestStallWaitsForRelease(t *testing.T) {
	w, h, blob, body := corp(t)
	fault := h.Fault(world.Fault{Kind: world.Stall, At: 60_000})
	resp, err := w.Client.Get(blob)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	start := make([]byte, 60_000)
	if _, err := io.ReadFull(resp.Body, start); err != nil {
		t.Fatal(err)
	}
	<-fault.Hit()
	if got := h.Counts().BlobBytes; got != 160_000 {
		t.Errorf("blob bytes while stalled: got %d, want 160000", got)
	}
	fault.Release()
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(start)+string(rest) != body {
		t.Errorf("after the release: got %d bytes, %v", len(start)+len(rest), err)
	}
}

// A test that forgets to release must not hang.
func TestStallEndsWithTheWorld(t *testing.T) {
	w, h, blob, _ := corp(t)
	fault := h.Fault(world.Fault{Kind: world.Delay})
	failed := make(chan error, 1)
	go func() { // ends with the world
		resp, err := w.Client.Get(blob)
		if err == nil {
			err = resp.Body.Close()
		}
		failed <- err
	}()
	<-fault.Hit()
	w.Close()
	if err := <-failed; err == nil {
		t.Error("got an answer")
	}
}

func TestRefuse(t *testing.T) {
	w, h, blob, _ := corp(t)
	w.Transport.CloseIdleConnections()
	fault := h.Fault(world.Fault{Kind: world.Refuse, Times: 2})
	for range 2 {
		if _, err := try(t, w, "GET", blob); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v, want connection refused", err)
		}
	}
	ask(t, w, "GET", blob).want(t, 200)
	if fault.Hits() != 2 {
		t.Errorf("hits: got %d, want 2", fault.Hits())
	}
}

func TestFaultsMatchAndQueue(t *testing.T) {
	w, h, blob, _ := corp(t)
	h.Fault(world.Fault{Kind: world.Status, Status: 500, On: world.Manifest})
	h.Fault(world.Fault{Kind: world.Status, Status: 501, Method: "HEAD"})
	h.Fault(world.Fault{Kind: world.Status, Status: 502, Times: 2, Match: func(r *http.Request) bool { return r.Header.Get("Range") != "" }})
	h.Fault(world.Fault{Kind: world.Status, Status: 503, Times: -1})
	for i, c := range []struct {
		method  string
		headers []string
		want    int
	}{
		{"GET", []string{"Range: bytes=0-1"}, 502},
		{"HEAD", nil, 501},
		{"GET", nil, 503},
		{"GET", []string{"Range: bytes=0-1"}, 502},
		{"GET", []string{"Range: bytes=0-1"}, 503},
	} {
		if got := ask(t, w, c.method, blob, c.headers...).StatusCode; got != c.want {
			t.Errorf("request %d: got %d, want %d", i, got, c.want)
		}
	}
	h.Heal()
	ask(t, w, "GET", "https://reg.corp.test/v2/app/manifests/1").want(t, 200)
}

func TestSealedDial(t *testing.T) {
	fake := &fakeT{T: t}
	w := world.New(fake, world.Options{})
	for _, addr := range []string{"example.com:443", "quay.io:22", "127.0.0.1:443", "10.0.0.1:443"} {
		if _, err := w.Dial(context.Background(), "tcp", addr); err == nil {
			t.Errorf("dial %s: got a connection", addr)
		}
	}
	if len(fake.errors) != 4 || len(w.StrayDials()) != 4 {
		t.Errorf("got %d errors and %q, want 4 of each", len(fake.errors), w.StrayDials())
	}
}
