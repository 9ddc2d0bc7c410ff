package world_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	api "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/entrepot/entrepot/testdata/world"
)

func TestLayerIsStable(t *testing.T) {
	l := world.Layer(7, 10_001)
	digest, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	const want = "sha256:7d37f3b431f81b97579a57d0b29cc1e3af8088da1b340dd1c978381440c32691"
	if digest.String() != want {
		t.Errorf("digest: got %s, want %s", digest, want)
	}
	rc, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(rc)
	if err != nil || len(all) != 10_001 {
		t.Fatalf("got %d bytes, %v", len(all), err)
	}
	at := l.(io.ReaderAt)
	for off := 0; off < len(all); off += 97 {
		part := make([]byte, 31)
		n, err := at.ReadAt(part, int64(off))
		if err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(part[:n], all[off:off+n]) {
			t.Fatalf("at %d: got other bytes, or %v", off, err)
		}
	}
	files := tar.NewReader(bytes.NewReader(all))
	if _, err := files.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, files); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("end of the tar: got %v", err)
	}
}

// A large layer exists only while it is read.
func TestLargeLayerTakesNoMemory(t *testing.T) {
	const size = 256 << 20
	w := world.New(t, world.Options{})
	p := w.Push(t, "reg.corp.test/large:1", world.Image(t, 1, size))
	resp, err := w.Client.Get("https://reg.corp.test/v2/large/blobs/" + p.Blobs[1])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	sum := sha256.New()
	if n, err := io.Copy(sum, resp.Body); n != size || err != nil {
		t.Fatalf("got %d bytes, %v", n, err)
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != p.Blobs[1] {
		t.Errorf("got %s, want %s", got, p.Blobs[1])
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapSys > 200<<20 {
		t.Errorf("heap: got %d MiB, want less than the layer", m.HeapSys>>20)
	}
}

func TestIndex(t *testing.T) {
	w := world.New(t, world.Options{})
	p := w.Push(t, "quay.io/acme/multi:1", world.Index(t, 1, 3000, 4000))
	if len(p.Manifests) != 3 || len(p.Blobs) != 6 || p.Layers != 14_000 {
		t.Errorf("pushed: got %+v", p)
	}
	ref, err := name.ParseReference("quay.io/acme/multi:1")
	if err != nil {
		t.Fatal(err)
	}
	idx, err := remote.Index(ref, remote.WithTransport(w.Transport))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := idx.Digest(); err != nil || got.String() != p.Digest {
		t.Errorf("index: got %s, %v, want %s", got, err, p.Digest)
	}
	mustPull(t, w, "quay.io/acme/multi:1", p.Manifests[0]) // linux/amd64
}

// A blob belongs to the repositories it was pushed to.
func TestBlobsBelongToRepositories(t *testing.T) {
	w := world.New(t, world.Options{})
	p := w.Push(t, "reg.corp.test/a:1", world.Image(t, 1, 3000))
	ask(t, w, "GET", "https://reg.corp.test/v2/a/blobs/"+p.Blobs[1]).want(t, 200)
	ask(t, w, "GET", "https://reg.corp.test/v2/b/blobs/"+p.Blobs[1]).want(t, 404)
	ask(t, w, "HEAD", "https://reg.corp.test/v2/b/blobs/"+p.Blobs[1]).want(t, 404)
	w.PutBlob(t, "reg.corp.test/b", p.Blobs[1], []byte("wrong"))
	if got := ask(t, w, "GET", "https://reg.corp.test/v2/b/blobs/"+p.Blobs[1]).want(t, 200).body; got != "wrong" {
		t.Errorf("damaged blob: got %q", got)
	}
	w.PutManifest(t, "reg.corp.test/b:x", "application/json", []byte("{}"))
	ask(t, w, "GET", "https://reg.corp.test/v2/b/manifests/x").want(t, 200).header(t, "Content-Type", "application/json")
}

func TestAssertions(t *testing.T) {
	w := world.New(t, world.Options{})
	p := w.Push(t, "reg.corp.test/a:1", world.Image(t, 1, 3000))
	fake := &fakeT{T: t}
	w.Silent(fake)
	w.NoMoreBlobBytes(fake, 0)
	w.NoLeaks(fake)
	if len(fake.errors) != 0 {
		t.Errorf("at rest: got %q", fake.errors)
	}
	ask(t, w, "GET", "https://reg.corp.test/v2/a/blobs/"+p.Blobs[1]).want(t, 200)
	ask(t, w, "GET", "https://cdn01.quay.io/", "Authorization: Basic eA==")
	w.Silent(fake)
	w.NoMoreBlobBytes(fake, 0)
	w.NoLeaks(fake)
	if len(fake.errors) != 3 {
		t.Errorf("after a request: got %q, want three complaints", fake.errors)
	}
	w.Reset()
	if w.BlobBytes() != 0 || len(w.Requests()) != 0 || len(w.Leaks()) != 0 || len(w.Counts()) != 0 {
		t.Error("Reset left something")
	}
}

// A real registry behind a public name.
func TestBackendByURL(t *testing.T) {
	real := httptest.NewServer(api.New(api.Logger(silent())))
	defer real.Close()
	w := world.New(t, world.Options{Backends: map[string]string{"docker.io": real.URL}})
	p := w.Push(t, "docker.io/library/alpine:3.20", world.Index(t, 1, 3000))
	mustPull(t, w, "docker.io/library/alpine:3.20", p.Manifests[0])
	if got := w.Host("production.cloudflare.docker.com").Counts().BlobGets; got != 2 {
		t.Errorf("blobs from the storage: got %d, want 2\n%s", got, w.Story())
	}
}

func TestForward(t *testing.T) {
	back := httptest.NewServer(echoHost())
	defer back.Close()
	w := world.New(t, world.Options{Forward: map[string]string{"s3.corp.test": back.URL}})
	if got := ask(t, w, "GET", "https://s3.corp.test/bucket/key?X-Amz-Signature=1").want(t, 200).body; got != "s3.corp.test /bucket/key?X-Amz-Signature=1" {
		t.Errorf("got %q", got)
	}
}

func TestRealPorts(t *testing.T) {
	// A block of its own, so that two runs on one machine do not meet.
	pid := os.Getpid()
	block := netip.AddrFrom4([4]byte{127, byte(70 + pid>>8%100), byte(pid), 0})
	probe := &syscall.SockaddrInet4{Port: 443, Addr: block.Next().As4()}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = syscall.Bind(fd, probe)
	if cerr := syscall.Close(fd); cerr != nil {
		t.Error(cerr)
	}
	if err != nil {
		t.Skipf("ports below 1024 are not ours: %v", err)
	}
	w := world.New(t, world.Options{RealPorts: true, Addresses: netip.PrefixFrom(block, 24)})
	w.Push(t, "quay.io/acme/app:1", world.Image(t, 1, 3000))
	w.Transport.DialContext = realDial(w)
	ask(t, w, "GET", "https://quay.io/v2/").want(t, 401)
	ask(t, w, "GET", "http://reg.corp.test:5000/v2/").want(t, 200)
	w.Transport.CloseIdleConnections()
	w.Host("quay.io").Fault(world.Fault{Kind: world.Refuse})
	if _, err := try(t, w, "GET", "https://quay.io/v2/"); err == nil {
		t.Error("a host that is down answered")
	}
	ask(t, w, "GET", "https://quay.io/v2/").want(t, 401)
}
