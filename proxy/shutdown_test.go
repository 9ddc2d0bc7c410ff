package proxy

import (
	"net/http"
	"testing"

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
			})
		}
	}
}
