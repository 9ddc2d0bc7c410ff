package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

// plainPush begins the push of a manifest by each door that takes plain HTTP.
var plainPush = map[string]string{
	doorHTTP:  "PUT /v2/team/app/manifests/v2 HTTP/1.1\r\nHost: " + corp + "\r\n",
	doorProxy: "PUT http://" + corp + "/v2/team/app/manifests/v2 HTTP/1.1\r\nHost: " + corp + "\r\n",
}

// TestPushThatEndsEarly: a client whose body breaks off hears that, and not that the registry is down (crane sends a second PUT of a
// tag without its body, over HTTP/2). The next pull is not touched by it.
func TestPushThatEndsEarly(t *testing.T) {
	st := newSite(t)
	st.world.Push(t, corp+"/team/app:v1", world.Image(t, 1, 1000))
	for _, w := range []way{{doorProxy, false}, {doorTLS, false}} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, st.url(w, corp, "team/app/manifests/v2"), io.NopCloser(strings.NewReader("")))
		req.ContentLength = 590
		resp, err := st.by(w).RoundTrip(req)
		if err != nil {
			t.Fatalf("%v: %v", w, err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		refusedWith(t, w.String(), resp, string(text), http.StatusBadRequest, codeSizeInvalid, "has not sent all of it")
	}
	st.pull(doorProxy, corp+"/team/app:v1")
}

// TestHalfClosedClientGetsNoEmptyAnswer: who closes his half of the connection in the middle of a request still reads, and must not
// take the end of it for a 200 with nothing in it.
func TestHalfClosedClientGetsNoEmptyAnswer(t *testing.T) {
	st := newSite(t)
	for door, push := range plainPush {
		c := st.raw(door).(*net.TCPConn)
		io.WriteString(c, push+"Content-Length: 590\r\n\r\n{")
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
			resp.Body.Close()
			t.Errorf("%s: got %s for half a manifest, want the connection closed", door, resp.Status)
		}
	}
}
