package proxy

import (
	"io"
	"net/http"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

// TestSendfileOfAFill: what is still coming in by the plain mirror door reaches the kernel's copy, as a hit does (TestSendfile).
func TestSendfileOfAFill(t *testing.T) {
	c := newCargo(t, 2<<20)
	stall := c.world.Host(corp).Fault(world.Fault{Kind: world.Stall, At: 1 << 20, On: world.Blob, Method: "GET"})
	door, copies := c.observedMirror()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", door+"/v2/"+corp+"/"+c.path, nil)
	resp, err := c.by(way{doorMirror, true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-stall.Hit()
	first := make([]byte, 100<<10)
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	stall.Release()
	rest, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "body", append(first, rest...), c.content)
	c.log.await(t, kindBlob, 1) // the client has its bytes before ReadFrom is back
	if got, want := copies.Load(), int64(len(c.content)); got != want {
		t.Errorf("%d bytes went from the file by the connection's ReadFrom, want %d", got, want)
	}
}
