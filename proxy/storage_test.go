package proxy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/testdata/world"
)

// TestStorageThatRefuses: a no of the storage that a registry redirects to is a fault and nobody's credential; the answer names the
// storage, since it is that which a firewall keeps away (kubernetes/registry.k8s.io #258).
func TestStorageThatRefuses(t *testing.T) {
	st := newSite(t)
	p := st.world.Push(t, "quay.io/org/tool:v1", world.Image(t, 1, 100<<10))
	st.get(doorMirror, st.mirror("/v2/quay.io/org/tool/manifests/v1"), "Accept", manifestTypes)
	cdn := st.world.Host("cdn01.quay.io")
	cdn.Fault(world.Fault{Kind: world.Status, Status: http.StatusForbidden, Times: 2})
	blob := st.mirror("/v2/quay.io/org/tool/blobs/" + p.Blobs[0])
	resp, body := st.get(doorMirror, blob)
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "cdn01.quay.io") {
		t.Errorf("got %d %s, want 503 with the storage's name", resp.StatusCode, body)
	}
	if !st.server.access.public(&request{registry: "quay.io", repo: "org/tool"}, st.server.now()) {
		t.Error("the storage's no took the proof away that the repository is public")
	}
	if resp, _ := st.get(doorMirror, blob); resp.StatusCode != http.StatusOK {
		t.Errorf("afterwards: got %d, want 200", resp.StatusCode)
	}
}

// TestTunnelModeAtTheTLSDoor: a registry that is to be tunnelled is, by every door that can: the certificate is its own.
func TestTunnelModeAtTheTLSDoor(t *testing.T) {
	st := newSite(t, func(c *Config) {
		c.Table, _ = hosts.New([]hosts.Registry{{Name: "quay.io", Mode: hosts.Tunnel}})
	})
	tr := st.transport(doorTLS)
	tr.TLSClientConfig.RootCAs = st.world.Roots
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://quay.io/v2/", nil)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	tr.CloseIdleConnections()
	if l := st.log.await(t, kindTunnel, 1)[0]; l.Door != doorTLS || l.Registry != "quay.io:443" || l.Status != 200 || l.Bytes == 0 {
		t.Errorf("got %+v, want a tunnel by the tls door", l)
	}
}

// TestRangeOutside: the refusal of a range is an OCI error like any other (its size is in Content-Range).
func TestRangeOutside(t *testing.T) {
	st := newSite(t)
	p := st.world.Push(t, "registry.k8s.io/app:1", world.Image(t, 1, 1000))
	st.get(doorMirror, st.mirror("/v2/registry.k8s.io/app/manifests/1"))
	for _, span := range []string{"bytes=100000-100001", "bytes=100000-"} { // the first is small, and nothing is held yet
		resp, body := st.get(doorMirror, st.mirror("/v2/registry.k8s.io/app/blobs/"+p.Blobs[0]), "Range", span)
		refusedWith(t, span, resp, string(body), http.StatusRequestedRangeNotSatisfiable, codeRangeInvalid, "Content-Range")
	}
	resp, body := st.get(doorMirror, st.mirror("/v2/registry.k8s.io/app/blobs/"+p.Blobs[0]), "Range", "bytes=9-x")
	refusedWith(t, "malformed", resp, string(body), http.StatusRequestedRangeNotSatisfiable, codeRangeInvalid, "such as bytes=0-99")
}
