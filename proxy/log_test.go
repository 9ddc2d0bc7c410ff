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

// TestChallengeIsNoFault: the 401 at the start of a pull, in words of ours where a HEAD has none of the registry's, is no error in the log;
// one to a client that has brought a credential is.
func TestChallengeIsNoFault(t *testing.T) {
	v := newVault(t)
	for _, w := range ways[1:] {
		for _, method := range []string{"GET", "HEAD"} {
			for _, path := range v.paths(corp) {
				for credential, fault := range map[string]bool{"": false, basicAuth("ada", "wrong"): true} {
					v.log.reset()
					a := ask(t, v.by(w), method, v.url(w, corp, path), bearing(credential, accepting...)...)
					if l := v.log.await(t, "", 1)[0]; a.StatusCode != 401 || l.Status != 401 || (l.Error != "") != fault {
						t.Errorf("%s: %s %s with %q: got %d, logged %+v, want a 401 with an error %v", w, method, path, credential, a.StatusCode, l, fault)
					}
				}
			}
		}
	}
}

// TestBytesOfHead: a HEAD has no body, and the log counts none, whether content or words of ours would have been in one.
func TestBytesOfHead(t *testing.T) {
	v := newVault(t)
	for _, w := range ways {
		for _, path := range append(v.paths(corp), "acme/app/manifests/sha256:12") {
			for _, credential := range []string{"", v.ada(corp)} {
				ask(t, v.by(w), "GET", v.url(w, corp, path), bearing(credential, accepting...)...)
				v.settled()
				v.log.until(t, `"method":"GET"`)
				v.log.reset()
				ask(t, v.by(w), "HEAD", v.url(w, corp, path), bearing(credential, accepting...)...)
				if l := v.log.await(t, "", 1)[0]; l.Method != "HEAD" || l.Bytes != 0 {
					t.Errorf("%s: %s: got %+v, want no bytes", w, path, l)
				}
			}
		}
		v.log.reset()
	}
}
