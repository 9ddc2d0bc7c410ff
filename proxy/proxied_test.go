package proxy

import (
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

// TestUpstreams407: a 407 from upstream, of a proxy that somebody put in our way, is told as a 502: a client would take it for ours, and
// send the password that it has for us.
func TestUpstreams407(t *testing.T) {
	st := newSite(t)
	p := st.world.Push(t, corp+"/team/app:v1", world.Image(t, 1, 50<<10))
	asks := world.Fault{Kind: world.Status, Status: 407, Times: -1, Header: map[string]string{"Proxy-Authenticate": `Basic realm="theirs"`}, Body: "log in"}
	for _, host := range []string{corp, "auth.docker.io", "unknown.example.org"} {
		st.world.Host(host).Fault(asks)
	}
	type row struct{ door, method, url string }
	rows := []row{
		{doorProxy, "GET", "https://auth.docker.io/token?service=registry.docker.io&scope=repository:a/b:pull"},
		{doorProxy, "GET", "http://unknown.example.org/"},
	}
	for _, w := range append(writable, way{doorMirror, true}) {
		for _, path := range []string{"manifests/v1", "manifests/" + p.Digest, "blobs/" + p.Blobs[1], "tags/list", "referrers/" + p.Digest} {
			rows = append(rows, row{w.door, "GET", st.url(w, corp, "team/app/"+path)})
		}
		if w.door != doorMirror {
			rows = append(rows, row{w.door, "POST", st.url(w, corp, "team/app/blobs/uploads/")})
		}
	}
	for _, row := range rows {
		st.log.reset()
		resp, body := st.do(row.door, row.method, row.url, accepting...)
		refusedWith(t, row.door+" "+row.method+" "+row.url, resp, string(body), 502, codeUnavailable, "answers 407: a proxy on the way")
		if asked := resp.Header.Get("Proxy-Authenticate"); asked != "" {
			t.Errorf("%+v: got the challenge %s", row, asked)
		}
		if l := st.log.await(t, "", 1)[0]; l.Status != 502 || !strings.Contains(l.Error, "answers 407") {
			t.Errorf("%+v: logged %+v, want a 502 and why", row, l)
		}
	}
}

// TestUpstreams407IsAnOutage: what is held goes on to be served, as when the registry could not be reached at all; so it does where it is
// the realm that cannot.
func TestUpstreams407IsAnOutage(t *testing.T) {
	for _, host := range []string{"registry-1.docker.io", "auth.docker.io"} {
		st := newSite(t)
		clock := st.clock()
		const ref = "docker.io/org/app:v1"
		p := st.world.Push(t, ref, world.Image(t, 1, 50<<10))
		st.pull(doorMirror, ref)
		st.awaitPublic(ref, p.Digest)
		eventually(t, "the probe has ended", func() bool { return within("(*Server).probe.func1") == 0 })
		st.world.ExpireTokens()
		clock.advance(time.Hour)
		st.world.Host(host).Fault(world.Fault{Kind: world.Status, Status: 407, Times: -1})
		resp, body := st.get(doorMirror, st.mirror("/v2/org/app/manifests/v1"), accepting...)
		if resp.StatusCode != 200 || resp.Header.Get("Cache-Status") != cacheStatus[cacheStale] {
			t.Errorf("%s: got %s %s, want it stale", host, resp.Status, body)
		}
	}
}
