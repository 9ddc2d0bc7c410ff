//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const (
	s3Host   = "s3.corp.test"   // the public name of versitygw, which presigned URLs bear
	s3Addr   = "127.0.0.1:7070" // where it listens
	s3Front  = "127.0.0.98:443" // the registry's own way to it
	s3Bucket = "registry"
	s3Access = "e2eaccess"
	s3Secret = "e2esecret"
)

// startS3 starts versitygw on a directory. A directory in it is a bucket.
func startS3(t testing.TB) {
	t.Helper()
	dir := filepath.Join(scratch(t), "s3")
	if err := os.MkdirAll(filepath.Join(dir, s3Bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	env := []string{"ROOT_ACCESS_KEY=" + s3Access, "ROOT_SECRET_KEY=" + s3Secret}
	p := start(t, "versitygw", command(env, program("versitygw"), "--port", s3Addr, "posix", dir))
	p.until(t, func() error { return answers("http://" + s3Addr + "/") })
}

// startRegistryOnS3 starts a distribution v3 process that keeps its blobs in
// S3 and sends clients to presigned URLs. For it alone the storage's name
// leads to a front of its own, so that the world counts only what clients do.
func startRegistryOnS3(t testing.TB, name, addr string) {
	t.Helper()
	roots := frontOfS3(t)
	config := registryConfig(t, name, addr, fmt.Sprintf(`  s3:
    accesskey: %s
    secretkey: %s
    region: us-east-1
    regionendpoint: https://%s
    forcepathstyle: true
    bucket: %s`, s3Access, s3Secret, s3Host, s3Bucket))
	front, _, _ := net.SplitHostPort(s3Front)
	etc := filepath.Join(scratch(t), name+".etc")
	writeFile(t, filepath.Join(etc, "hosts"), front+" "+s3Host+"\n")
	env := []string{"SSL_CERT_FILE=" + roots}
	// The directory, not the file: a mount on a file is gone when the file is
	// replaced, which `entrepot hosts` does.
	serveRegistry(t, name, addr, command(env, "/usr/bin/unshare", "--mount", "/bin/sh", "-ec",
		`mount --bind "$0" /etc; exec "$@"`, etc, program("registry"), "serve", config))
}

// frontOfS3 speaks TLS under the storage's name, with a certificate of its
// own, and returns the file that one must trust.
func frontOfS3(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", s3Front)
	if err != nil {
		t.Fatal(err)
	}
	cert := selfSigned(t, s3Host)
	behind := &url.URL{Scheme: "http", Host: s3Addr}
	server := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(behind)
			r.Out.Host = r.In.Host // is part of what is signed
		},
	})
	_ = server.Listener.Close() // ours has the port that the URL means
	server.Listener = l
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	file := filepath.Join(scratch(t), "s3-roots.pem")
	writeFile(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})))
	return file
}

func selfSigned(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
