package proxy

import (
	"testing"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/testdata/world"
)

// parallel lets blobs of the test's registry come over n connections.
func parallel(t *testing.T, n int) func(*Config) {
	table, err := hosts.New(append(hosts.Defaults(), hosts.Registry{Name: corp, Parallel: n}))
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.Table = table }
}

const lanesSize = 34 << 20 // a first part of 16 MiB, two stretches of 8, and a rest

// TestParallelUpstream: where the operator allows it, a large blob is asked for over as many connections at once, each of which upstream
// holds up here, and costs what it weighs.
func TestParallelUpstream(t *testing.T) {
	for _, n := range []int{0, 4} {
		c := newCargo(t, lanesSize, parallel(t, n))
		stall := c.world.Host(corp).Fault(world.Fault{Kind: world.Stall, At: 1 << 20, On: world.Blob, Method: "GET", Times: -1})
		before := c.world.BlobBytes()
		done := make(chan answer, 1)
		go func() {
			a, _ := try(t.Context(), c.by(ways[0]), "GET", c.url(ways[0], corp, c.path))
			done <- a
		}()
		want := max(1, n)
		eventually(t, "all connections are held up", func() bool { return stall.Hits() == want })
		stall.Release()
		a := <-done
		sameBytes(t, "the blob", a.body, c.content)
		if a.StatusCode != 200 || a.ContentLength != int64(len(c.content)) {
			t.Errorf("parallel %d: got %d of %d bytes, want 200 of %d", n, a.StatusCode, a.ContentLength, len(c.content))
		}
		c.settled()
		if got := c.world.BlobBytes() - before; got != int64(len(c.content)) {
			t.Errorf("parallel %d: upstream sent %d bytes, want %d", n, got, len(c.content))
		}
	}
}

// TestParallelRefused: an upstream that does not take more than one request at a time gets no more of them, and sends the blob once:
// whether it refuses the others while the first goes on, or at any moment.
func TestParallelRefused(t *testing.T) {
	for _, status := range []int{429, 503} {
		for _, first := range []world.FaultKind{world.Stall, world.Headers} { // goes through, and waits for the others or not
			c := newCargo(t, lanesSize, parallel(t, 4))
			host := c.world.Host(corp)
			held := host.Fault(world.Fault{Kind: first, At: 15 << 20, On: world.Blob, Method: "GET"})
			refused := host.Fault(world.Fault{Kind: world.Status, Status: status, On: world.Blob, Method: "GET", Times: 3})
			before := c.world.BlobBytes()
			done := make(chan answer, 1)
			go func() {
				a, _ := try(t.Context(), c.by(ways[0]), "GET", c.url(ways[0], corp, c.path))
				done <- a
			}()
			if first == world.Stall {
				eventually(t, "the others are refused", func() bool { return refused.Hits() == 3 })
				held.Release()
			}
			sameBytes(t, "the blob", (<-done).body, c.content)
			c.settled()
			if got := c.world.BlobBytes() - before; got != int64(len(c.content)) {
				t.Errorf("%d, %s: upstream sent %d bytes, want %d", status, first, got, len(c.content))
			}
			if got := host.Counts().BlobGets; got > 8 {
				t.Errorf("%d, %s: %d requests, want the first, three that were refused, and a part for each lane at most", status, first, got)
			}
		}
	}
}

// TestParallelWithoutRanges: an upstream that ignores ranges sends the blob once, over one connection.
func TestParallelWithoutRanges(t *testing.T) {
	c := newCargo(t, lanesSize, parallel(t, 4))
	host := c.world.Host(corp)
	host.Fault(world.Fault{Kind: world.NoRange, On: world.Blob, Method: "GET", Times: -1})
	a := ask(t, c.by(ways[0]), "GET", c.url(ways[0], corp, c.path))
	sameBytes(t, "the blob", a.body, c.content)
	c.settled()
	if got := host.Counts().BlobGets; got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
}
