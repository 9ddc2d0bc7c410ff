package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func pool(certs ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

// handshake lets a client that trusts roots ask a server of a for host. The
// client's view is returned. It goes over a real socket: both may write at the
// same time, and a client that refuses does.
func handshake(a *Authority, host string, roots *x509.CertPool) (tls.ConnectionState, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		return tls.ConnectionState{}, err
	}
	served := make(chan error, 1)
	// The caller waits for this goroutine at the receive below.
	go func() {
		defer far.Close()
		served <- tls.Server(far, &tls.Config{
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.Certificate(host) },
		}).Handshake()
	}()
	client := tls.Client(near, &tls.Config{ServerName: host, RootCAs: roots})
	err = client.Handshake()
	near.Close()
	return client.ConnectionState(), errors.Join(err, <-served)
}

// counted counts the certificates that a key signs.
type counted struct {
	crypto.Signer
	mints *atomic.Int64
}

func (c counted) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	c.mints.Add(1)
	return c.Signer.Sign(rand, digest, opts)
}

func countMints(a *Authority) *atomic.Int64 {
	n := new(atomic.Int64)
	a.inForce.Load().key = counted{a.inForce.Load().key, n}
	return n
}

func TestOneLeafForManyHandshakes(t *testing.T) {
	a := mustOpen(t, Config{Dir: t.TempDir()})
	mints := countMints(a)
	start := make(chan struct{})
	var serials sync.Map
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			<-start
			state, err := handshake(a, "registry-1.docker.io", a.inForce.Load().roots)
			if err != nil {
				t.Errorf("handshake: got error %v", err)
				return
			}
			serials.Store(state.PeerCertificates[0].SerialNumber.String(), true)
		})
	}
	close(start)
	wg.Wait()
	different := 0
	serials.Range(func(any, any) bool { different++; return true })
	if got := mints.Load(); got != 1 || different != 1 {
		t.Errorf("200 handshakes: got %d mints and %d serials, want 1 and 1", got, different)
	}
}

func TestLeaf(t *testing.T) {
	a := mustOpen(t, Config{Dir: t.TempDir()})
	now := time.Now().Truncate(time.Second)
	a.inForce.Load().now = func() time.Time { return now }
	tests := []struct {
		name, dns, ip string
	}{
		{"quay.io", "quay.io", ""},
		{"QUAY.io.", "quay.io", ""},
		{"10.0.0.1", "", "10.0.0.1"},
		{"[2001:DB8::0:1]", "", "2001:db8::1"},
		{strings.Repeat("long.", 49) + "example", strings.Repeat("long.", 49) + "example", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cert, err := a.Certificate(tt.name)
			if err != nil {
				t.Fatal(err)
			}
			c := cert.Leaf
			var wantDNS, wantIP []string
			if tt.dns != "" {
				wantDNS = []string{tt.dns}
			} else {
				wantIP = []string{tt.ip}
			}
			if got, want := fmt.Sprint(c.DNSNames, c.IPAddresses), fmt.Sprint(wantDNS, wantIP); got != want {
				t.Errorf("names: got %v, want %v", got, want)
			}
			// A common name is for names that fit. OpenSSL would hold that of an
			// address against the limits of a root.
			if got, want := c.Subject.CommonName, tt.dns; got != want && (got != "" || len(want) <= maxCommonName) {
				t.Errorf("common name: got %q, want %q", got, want)
			}
			checkLeaf(t, c, now)
			if got, want := len(cert.Certificate), 1; got != want {
				t.Errorf("certificates sent: got %v, want %v", got, want)
			}
			if _, err := handshake(a, tt.dns+tt.ip, a.inForce.Load().roots); err != nil {
				t.Errorf("handshake: got error %v, want none", err)
			}
		})
	}
}

// checkLeaf sees to what is the same in all leaves of our own root.
func checkLeaf(t *testing.T, c *x509.Certificate, now time.Time) {
	t.Helper()
	if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("key: got %T, want ECDSA P-256", c.PublicKey)
	}
	if got, want := c.KeyUsage, x509.KeyUsageDigitalSignature; got != want {
		t.Errorf("key usage: got %b, want %b", got, want)
	}
	if got, want := fmt.Sprint(c.ExtKeyUsage), fmt.Sprint([]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}); got != want {
		t.Errorf("extended key usage: got %v, want %v", got, want)
	}
	if got, want := c.NotBefore, now.Add(-time.Hour); !got.Equal(want) {
		t.Errorf("not before: got %v, want %v", got, want)
	}
	if got, want := c.NotAfter, now.Add(30*24*time.Hour); !got.Equal(want) {
		t.Errorf("not after: got %v, want %v", got, want)
	}
	if c.IsCA {
		t.Error("got a CA, want a leaf")
	}
}

func TestRenewal(t *testing.T) {
	a := mustOpen(t, Config{Dir: t.TempDir()})
	mints := countMints(a)
	born := time.Now()
	life := 30 * 24 * time.Hour
	// A leaf of the issuer's last month ends with it, and is kept to the end
	// because a new one would not live longer.
	end := a.NotAfter().Sub(born)
	tests := []struct {
		name  string
		after time.Duration
		mints int64
	}{
		{"new", 0, 1},
		{"before two thirds", life*2/3 - time.Minute, 1},
		{"after two thirds", life*2/3 + time.Minute, 2},
		{"clock put back", -30 * time.Minute, 3},
		{"clock still put back", -29 * time.Minute, 3},
		{"a week before the end", end - 7*24*time.Hour, 4},
		{"an hour before the end", end - time.Hour, 4},
		{"a second before the end", end - 2*time.Second, 4},
	}
	for _, tt := range tests {
		now := born.Add(tt.after)
		a.inForce.Load().now = func() time.Time { return now }
		cert, err := a.Certificate("quay.io")
		if err != nil {
			t.Fatalf("%s: got error %v", tt.name, err)
		}
		if got := mints.Load(); got != tt.mints {
			t.Errorf("%s: got %v mints, want %v", tt.name, got, tt.mints)
		}
		if cert.Leaf.NotAfter.After(a.NotAfter()) {
			t.Errorf("%s: leaf ends %v, want not after its issuer %v", tt.name, cert.Leaf.NotAfter, a.NotAfter())
		}
	}
	a.inForce.Load().now = func() time.Time { return a.NotAfter().Add(time.Second) }
	_, err := a.Certificate("quay.io")
	wantError(t, err, "expired on")
}

func TestLeavesAreBounded(t *testing.T) {
	a := mustOpen(t, Config{Dir: t.TempDir(), Leaves: 3})
	mints := countMints(a)
	for _, host := range []string{"a.io", "b.io", "c.io", "a.io", "d.io", "a.io", "b.io"} {
		if _, err := a.Certificate(host); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := a.inForce.Load().leaves.Len(), 3; got != want {
		t.Errorf("leaves kept: got %v, want %v", got, want)
	}
	// a.io was used and stays when d.io comes; b.io is the oldest and is made again.
	if got, want := mints.Load(), int64(5); got != want {
		t.Errorf("mints: got %v, want %v", got, want)
	}
}

// brokenSigner stands for a key that fails, such as one in hardware later on.
type brokenSigner struct{ crypto.Signer }

func (brokenSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no signature today")
}

func TestAFailedMintIsNotKept(t *testing.T) {
	a := mustOpen(t, Config{Dir: t.TempDir()})
	good := a.inForce.Load().key
	a.inForce.Load().key = brokenSigner{good}
	if _, err := a.Certificate("quay.io"); err == nil || !strings.Contains(err.Error(), "quay.io") {
		t.Errorf("broken key: got error %v, want one that names quay.io", err)
	}
	a.inForce.Load().key = good
	if _, err := a.Certificate("quay.io"); err != nil {
		t.Errorf("key that works again: got error %v, want none", err)
	}
}

func BenchmarkMint(b *testing.B) {
	a := mustOpen(b, Config{Dir: b.TempDir()})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.inForce.Load().mint("registry-1.docker.io"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCached(b *testing.B) {
	a := mustOpen(b, Config{Dir: b.TempDir()})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := a.Certificate("registry-1.docker.io"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
