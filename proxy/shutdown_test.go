package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

// TestShutdownIsNoAnswer: who waits for an answer, or for the rest of one, when the grace is over is cut off. A handler that returned
// without a word told such clients 200 and no bytes.
func TestShutdownIsNoAnswer(t *testing.T) {
	for _, w := range ways {
		for name, row := range map[string]struct {
			path  func(c *cargo) string
			fault world.Fault
		}{
			"manifest by tag":     {func(*cargo) string { return "app/manifests/v1" }, world.Fault{Kind: world.Delay, On: world.Manifest}},
			"manifest by digest":  {func(c *cargo) string { return "app/manifests/" + c.digest }, world.Fault{Kind: world.Delay, On: world.Manifest}},
			"blob":                {func(c *cargo) string { return c.path }, world.Fault{Kind: world.Delay, On: world.Blob, Method: "GET"}},
			"blob, in the middle": {func(c *cargo) string { return c.path }, world.Fault{Kind: world.Stall, At: 200 << 10, On: world.Blob, Method: "GET"}},
			"list":                {func(*cargo) string { return "app/tags/list" }, world.Fault{Kind: world.Delay}},
		} {
			t.Run(w.String()+" "+name, func(t *testing.T) {
				c := newCargo(t, faultySize)
				waiting := c.world.Host(corp).Fault(row.fault)
				type result struct {
					a   answer
					err error
				}
				done := make(chan result, 1)
				go func() {
					a, err := try(t.Context(), c.by(w), http.MethodGet, c.url(w, corp, row.path(c)), accepting...)
					done <- result{a, err}
				}()
				<-waiting.Hit()
				c.server.cancel() // as Shutdown does when the grace is over, a moment before it cuts the connections
				if got := <-done; got.err == nil && got.a.err == nil && got.a.StatusCode < 400 {
					t.Errorf("got %d and %d bytes, politely ended", got.a.StatusCode, len(got.a.body))
				}
				if l := c.log.await(t, "", 1)[0]; l.Error != errClosing.Error() {
					t.Errorf("got %+v, want it to say that entrepot is closing", l)
				}
			})
		}
	}
}

// TestShutdownTellsAll: a pull that goes on keeps none of the other connections from being ended, whichever server has them.
func TestShutdownTellsAll(t *testing.T) {
	c := newCargo(t, faultySize)
	stall := c.world.Host(corp).Fault(world.Fault{Kind: world.Stall, At: 200 << 10, On: world.Blob, Method: "GET"})
	idle := map[string]*bufio.Reader{}
	for name, fields := range map[string]string{"ours": "", "net/http's": "Pragma: no-cache\r\n"} {
		conn, err := net.Dial("tcp", c.doors[doorMirror])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, "GET /v2/ HTTP/1.1\r\nHost: mirror\r\n"+fields+"\r\n")
		idle[name] = bufio.NewReader(conn)
		resp, err := http.ReadResponse(idle[name], nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
	}
	w := ways[0]
	pulled := make(chan error, 1)
	go func() {
		a, err := try(t.Context(), c.by(w), http.MethodGet, c.url(w, corp, c.path), accepting...)
		if err == nil {
			err = a.err
		}
		pulled <- err
	}()
	<-stall.Hit()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- c.server.Shutdown(ctx) }()
	for name, r := range idle {
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("%s: got %v, want the end", name, err)
		}
	}
	select {
	case err := <-pulled:
		t.Errorf("the pull ended: %v", err)
	default:
	}
	cancel()
	<-done
	<-pulled
}
