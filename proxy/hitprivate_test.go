package proxy

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// newPrivateHits are hits of what only some may read: by a password for the registry, by a token that says when it ends, by a login to
// the mirror, which reads with the mirror's own credential.
func newPrivateHits(t *testing.T) map[string]*hit {
	l := newLender(t)
	l.server.cfg.ManifestTTL = time.Hour
	l.server.SetUsers(l.users, nil)
	token := "Bearer e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, time.Now().Add(time.Hour).Unix())) + ".c2ln"
	hits := map[string]*hit{}
	for name, of := range map[string]struct{ door, ref, bears string }{
		"private manifest by digest, password":    {doorTLS, l.held[corp].Digest, l.ada(corp)},
		"private manifest by tag, password":       {doorTLS, "v1", l.ada(corp)},
		"private manifest by digest, token":       {doorTLS, l.held[corp].Digest, token},
		"private manifest by tag, token":          {doorTLS, "v1", token},
		"manifest by digest, login to the mirror": {doorMirror, l.held[corp].Digest, basicAuth("bob", "bobs")},
		"manifest by tag, login to the mirror":    {doorMirror, "v1", basicAuth("bob", "bobs")},
	} {
		path, conn := "/v2/acme/app/manifests/"+of.ref, &wire{door: of.door, authority: corp}
		if of.door == doorMirror {
			path, conn.authority = "/v2/"+corp+"/acme/app/manifests/"+of.ref, ""
		}
		req := httptest.NewRequest(http.MethodGet, path, nil)
		if of.door == doorTLS {
			req.Host, req.TLS = corp, &tls.ConnectionState{}
		}
		req.Header.Set("Accept", manifestTypes)
		req.Header.Set("User-Agent", "containerd/2.4.2")
		h := &hit{server: l.server, header: http.Header{}, bears: []string{of.bears}}
		h.req = req.WithContext(context.WithValue(t.Context(), wireKey{}, conn))
		if of.bears == token { // this registry gives out none: that it takes it is all that matters here
			req.Header.Set("Authorization", token)
			l.server.access.grant(&request{registry: corp, repo: "acme/app"}, req, l.clock.now())
			req.Header.Del("Authorization")
		}
		hits[name] = h
	}
	for _, name := range []string{"private manifest by tag, password", "manifest by tag, login to the mirror"} {
		for range 2 { // it is brought, and proven
			hits[name].serve()
		}
	}
	l.clock.advance(hitAge)
	return hits
}
