package cache

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world/leaks"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimEnv); dir != "" {
		beKilled(dir)
	}
	leaks.VerifyTestMain(m)
}

func TestHitAfterRestart(t *testing.T) {
	dir := t.TempDir()
	up := newUpstream(1 << 20)
	s := open(t, dir, Config{})
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	wantWhole(t, up, b, err)
	s.Close()
	s = open(t, dir, Config{})
	b, err = s.Blob(t.Context(), up.digest(), up.source())
	wantWhole(t, up, b, err)
	if b.Outcome != Hit || up.opened.Load() != 1 {
		t.Errorf("got outcome %v after %d requests, want a hit after one", b.Outcome, up.opened.Load())
	}
	if got := s.MediaType(up.digest()); got != "application/octet-stream" {
		t.Errorf("got type %q", got)
	}
}

func TestPutIsHeldByItsDigest(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	for _, content := range []string{"", "{}", "{}"} {
		d, err := s.Put([]byte(content), "application/json")
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Lookup(d)
		if got := mustRead(t, b, err); string(got) != content || s.MediaType(d) != "application/json" {
			t.Errorf("got %q of type %q, want %q", got, s.MediaType(d), content)
		}
	}
	wantIdle(t, s)
	if u := s.Usage(); u.Objects != 2 || u.Bytes != 2 {
		t.Errorf("got %d objects of %d bytes, want 2 of 2", u.Objects, u.Bytes)
	}
}

func TestPutReplacesATruncatedFile(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	d, err := s.Put([]byte("manifest"), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(s.dir.blob(d), 3); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put([]byte("manifest"), "a/b"); err != nil {
		t.Fatal(err)
	}
	b, err := s.Lookup(d)
	if got := mustRead(t, b, err); string(got) != "manifest" {
		t.Errorf("got %q", got)
	}
}

func TestZeroDigestIsAMiss(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	if _, err := s.Lookup(Digest{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want not exist", err)
	}
	if s.Has(Digest{}) || s.MediaType(Digest{}) != "" {
		t.Error("the zero digest has content")
	}
}

func TestSHA512(t *testing.T) {
	dir := t.TempDir()
	up := newUpstream(200 << 10)
	h := Digest{"sha512:"}.hash()
	h.Write(up.content)
	d, err := ParseDigest("sha512:" + hexOf(h.Sum(nil)))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, Config{})
	b, err := s.Blob(t.Context(), d, up.source())
	wantWhole(t, up, b, err)
	wantIdle(t, s)
	s.Close()
	s = open(t, dir, Config{})
	<-s.scanned
	for o := range s.Objects() {
		if o.Digest != d {
			t.Errorf("got %v, want %v", o.Digest, d)
		}
	}
	if err := s.Remove(d); err != nil || s.Usage().Objects != 0 {
		t.Errorf("remove: %v, %d objects left", err, s.Usage().Objects)
	}
}

// counted has the methods of held and counts what does not go by the kernel.
type counted struct {
	*held
	read int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.held.Read(p)
	c.read += n
	return n, err
}

// harbor#21401: a warm layer came no faster than a cold one, through three copies.
func TestHitIsSentByTheKernel(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	up := newUpstream(4 << 20)
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	wantWhole(t, up, b, err)
	wantIdle(t, s)
	b, err = s.Lookup(up.digest())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := &counted{held: b.ReadSeekCloser.(*held)}
	var _ syscall.Conn = c
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, c)
	})}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{}}
	resp, err := client.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	client.CloseIdleConnections()
	srv.Close()
	<-done
	if err != nil || !bytes.Equal(got, up.content) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	if c.read > 64<<10 {
		t.Errorf("%d bytes of %d went through our memory", c.read, len(got))
	}
}

func TestCloseTwiceAndReadAfterClose(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	up := newUpstream(1 << 20)
	gate := make(chan struct{})
	up.before = holdAt(300<<10, gate)
	one, err := s.Blob(t.Context(), up.digest(), up.source())
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.Blob(t.Context(), up.digest(), up.source())
	if n, err := one.Read(nil); n != 0 || err != nil {
		t.Errorf("an empty read: got %d, %v", n, err)
	}
	one.Close()
	one.Close()
	close(gate)
	wantWhole(t, up, two, err)
	two.Close()
	wantIdle(t, s)
	hit, err := s.Lookup(up.digest())
	if err != nil {
		t.Fatal(err)
	}
	hit.Close()
	hit.Close()
	wantIdle(t, s)
}
