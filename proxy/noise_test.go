package proxy

import (
	"crypto/tls"
	"strings"
	"testing"
)

// TestDistrustIsLoggedOnce: a client that does not trust our CA never sends a request, so that the log would say nothing about the
// commonest fault of a first day.
func TestDistrustIsLoggedOnce(t *testing.T) {
	st := newSite(t)
	for range 3 {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := tls.Client(st.raw(doorTLS), &tls.Config{ServerName: "quay.io", MaxVersion: version})
			if err := c.Handshake(); err == nil || !strings.Contains(err.Error(), "unknown authority") {
				t.Errorf("handshake: got %v, want unknown authority", err)
			}
			c.Close()
		}
	}
	st.log.until(t, "does not trust the CA")
	if got := strings.Count(st.log.String(), "does not trust the CA"); got != 1 {
		t.Errorf("said %d times, want once\n%s", got, st.log)
	}
}

func TestDistrustful(t *testing.T) {
	for text, want := range map[string]string{
		"http: TLS handshake error from 10.0.0.7:50000: remote error: tls: bad certificate":                "10.0.0.7",
		"http: TLS handshake error from [fd00::7]:50000: remote error: tls: unknown certificate authority": "fd00::7",
		"http: TLS handshake error from 10.0.0.7:50000: local error: tls: bad record MAC":                  "10.0.0.7", // curl with OpenSSL 3
		"http: TLS handshake error from 10.0.0.7:50000: EOF":                                               "",
		"http: TLS handshake error from nonsense: remote error: tls: bad certificate":                      "",
		"http: something else": "",
	} {
		if got, ok := handshakeFailed(text, doubts); got != want && want != "" || ok != (want != "") {
			t.Errorf("%q: got %q %v, want %q", text, got, ok, want)
		}
	}
}
