package proxy

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

// TestWhoHangsUpIsNamed: a client that resets its connection in the middle of a layer (skopeo does when it finds that it has it) went
// away; the log must not read as if entrepot had cut it off.
func TestWhoHangsUpIsNamed(t *testing.T) {
	st := newSite(t)
	p := st.world.Push(t, "registry.k8s.io/big:1", world.Image(t, 1, 8<<20))
	st.pull(doorMirror, "registry.k8s.io/big:1")
	st.log.await(t, kindBlob, len(p.Blobs)) // all lines of the pull
	for range 10 {
		st.log.reset()
		c := st.raw(doorMirror).(*net.TCPConn)
		c.SetReadBuffer(64 << 10) // or the kernel takes all of it
		io.WriteString(c, "GET /v2/registry.k8s.io/big/blobs/"+p.Blobs[1]+" HTTP/1.1\r\nHost: mirror\r\n\r\n")
		if _, err := c.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		c.SetLinger(0)
		c.Close()
		if l := st.log.await(t, kindBlob, 1)[0]; l.Error != errClientGone.Error() {
			t.Errorf("got %+v, want %q", l, errClientGone)
		}
	}
}

// TestPasswordsInAddressesAreNotRepeated: who writes his password before a host, as in an URL, does not find it in the log, nor in the
// answer, which his client may log.
func TestPasswordsInAddressesAreNotRepeated(t *testing.T) {
	const password = "swordfish"
	for _, row := range []struct{ door, request string }{
		{doorProxy, "CONNECT ada:" + password + "@quay.io:443"},
		{doorProxy, "CONNECT ada:" + password + "@quay.io"},
		{doorProxy, "CONNECT quay.io:" + password + "@80"},
		{doorProxy, "GET http://ada:" + password + "@quay.io/v2/"},
		{doorMirror, "GET /ada:" + password + "@quay.io/v2/org/tool/manifests/1"},
		{doorMirror, "GET /v2/ada:" + password + "@quay.io/org/tool/manifests/1"},
		{doorMirror, "GET /v2/org/tool/manifests/1?ns=ada:" + password + "@quay.io"},
	} {
		st := newSite(t)
		resp, body, _ := st.say(row.door, row.request+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		st.log.until(t, `"bytes"`)
		if strings.Contains(body+st.log.String(), password) || resp.StatusCode == 200 {
			t.Errorf("%s: got %d %s, logged\n%s", row.request, resp.StatusCode, body, st.log)
		}
	}
}
