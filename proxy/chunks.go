package proxy

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/entrepot/entrepot/cache"
)

// chunks finds out where clients hang up that ask for parts with an open end, chunk after chunk, and read no more than one. What is sent
// to them behind it is lost: of 256 MiB by 16 workers for 1 MiB each, containerd threw half as much away again. The distance of where
// such parts begin is the size of a chunk, and a transfer that comes to the end of one waits for the client to leave before it goes on.
type chunks struct {
	recent   *lru.Cache[chunksOf, *chunking]
	patience time.Duration // with a client that does not hang up; it pays this once for a blob
}

// chunksOf is what chunks are of.
type chunksOf struct {
	client netip.Prefix
	digest cache.Digest
}

// chunking is what is known of one client's chunks of one blob.
type chunking struct {
	mu     sync.Mutex
	starts []int64 // the last ones
	size   int64   // the smallest distance of two neighbours, 0 while there is none
	seen   int     // how often
	wrong  bool    // a client stayed
}

const (
	chunkingsInMemory = 1024
	startsInMemory    = 64
	hangUpPatience    = 200 * time.Millisecond // more than a way there and back, and what waits in the kernel
	chunkStep         = 256 << 10              // how much is sent before it is looked again whether the size of a chunk is known
	largestChunk      = 64 << 20               // then nobody can be expected to hang up any more
)

func newChunks() *chunks {
	c, _ := lru.New[chunksOf, *chunking](chunkingsInMemory) // errs on a size below one only
	return &chunks{c, hangUpPatience}
}

// begin notes that a client begins a part of a blob.
func (c *chunks) begin(client netip.Prefix, d cache.Digest, from int64) *chunking {
	k := chunksOf{client, d}
	of, ok := c.recent.Get(k)
	if !ok {
		of = &chunking{}
		if was, raced, _ := c.recent.PeekOrAdd(k, of); raced {
			of = was
		}
	}
	of.begin(from)
	return of
}

func (c *chunking) begin(from int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	nearest := int64(0)
	for _, at := range c.starts {
		if d := max(from-at, at-from); d > 0 && (nearest == 0 || d < nearest) {
			nearest = d
		}
	}
	switch {
	case nearest == 0:
	case c.size == 0 || nearest < c.size:
		c.size, c.seen = nearest, 1
	case nearest == c.size:
		c.seen++
	}
	if len(c.starts) == startsInMemory {
		c.starts = c.starts[:copy(c.starts, c.starts[1:])]
	}
	c.starts = append(c.starts, from)
}

// known is the size of a chunk, 0 where it is not known: two clients that resume are at some distance too, but hardly twice at the same.
func (c *chunking) known() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wrong || c.seen < 2 || c.size > largestChunk {
		return 0
	}
	return c.size
}

// stayed notes that a client wants more than a chunk.
func (c *chunking) stayed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = true
}

// bodyWriter is how a body goes out: bigPieces or prompt.
type bodyWriter interface {
	http.ResponseWriter
	io.ReaderFrom
}

// chunkWriter sends a part with an open end, and waits at the end of the first chunk.
type chunkWriter struct {
	bodyWriter
	client   *countingWriter // what bodyWriter writes to
	conn     *wire           // below it
	ctx      context.Context
	chunking *chunking
	patience time.Duration
}

// ReadFrom implements io.ReaderFrom.
func (w chunkWriter) ReadFrom(r io.Reader) (int64, error) {
	part, ok := r.(*io.LimitedReader)
	if !ok {
		return w.bodyWriter.ReadFrom(r)
	}
	total := int64(0)
	for total < largestChunk && part.N > 0 {
		want := min(chunkStep, part.N)
		size := w.chunking.known()
		if total < size {
			want = min(size-total, part.N)
		}
		step := io.LimitedReader{R: part.R, N: want}
		n, err := w.bodyWriter.ReadFrom(&step)
		part.N -= n
		total += n
		if err != nil || n < want {
			return total, err
		}
		if total == size && part.N > 0 {
			if err := w.await(); err != nil {
				return total, err
			}
			break
		}
	}
	if part.N == 0 {
		return total, nil
	}
	more, err := w.bodyWriter.ReadFrom(part)
	return total + more, err
}

// await lets the client hang up, which is an error.
func (w chunkWriter) await() error {
	http.NewResponseController(w.client).Flush()
	t := time.NewTimer(w.patience)
	defer t.Stop()
	select {
	case <-w.ctx.Done():
		w.client.gone = true
		return w.ctx.Err()
	case <-t.C:
		w.chunking.stayed()
		w.conn.spare(true)
		return nil
	}
}
