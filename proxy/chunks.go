package proxy

import (
	"context"
	"hash/maphash"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/entrepot/entrepot/cache"
)

// chunks finds out where clients hang up that ask for parts with an open end, chunk after chunk, and read no more than one. What is sent
// to them behind it is lost: of 256 MiB by 16 workers for 1 MiB each, containerd threw half as much away again. The distance of where
// such parts begin is the size of a chunk, and a transfer that comes to the end of one waits for the client to leave before it goes on.
//
// A client that has left there more than once is answered with the chunk alone, as RFC 9110 section 15.3.7 lets a server answer: with all
// that it wants read to the end, it keeps the connection, where each chunk cost it a handshake before. Whoever wanted more would take the
// end of the answer for the end of the blob, as containerd does with the first answer of a fetch, be it of a blob or of the rest of one
// that broke, or put the next chunk behind it: how much came for a chunk it does not look at. So what is learnt is of one pull, and as soon
// as anything says that two clients stand behind one key nobody is sent less than asked for.
type chunks struct {
	recent   *lru.Cache[chunksOf, *chunking]
	patience time.Duration // with a client that does not hang up; it pays this once for a pull
	seed     maphash.Seed
}

// chunksOf is what chunks are of.
type chunksOf struct {
	client netip.Prefix
	agent  uint64 // hash of the User-Agent
	digest cache.Digest
}

// chunking is what is known of one client's chunks of one blob.
type chunking struct {
	mu sync.Mutex
	pull
	under int       // parts on their way to the client
	last  time.Time // that one of them ended
}

// pull is what the parts of one pull have shown.
type pull struct {
	starts  []int64 // the last ones
	size    int64   // the smallest distance of two neighbours, 0 while there is none
	seen    int     // how often
	left    int     // how often the client hung up where a chunk ended
	stayed  bool    // a client wanted more than a chunk
	several bool    // clients
}

const (
	chunkingsInMemory = 8192 // a thousand clients and eight layers, for 6 MB
	startsInMemory    = 64
	hangUpPatience    = 500 * time.Millisecond // more than two ways there and back, and a segment that is sent again
	chunkStep         = 256 << 10              // how much is sent before it is looked again whether the size of a chunk is known
	smallestChunk     = 256 << 10              // that is sent alone: below, others' parts may begin where one does by chance
	largestChunk      = 64 << 20               // then nobody can be expected to hang up any more
	hangUps           = 2                      // where a chunk ended, until it is all that is sent
	nextChunk         = 100 * time.Millisecond // of the same pull begins no later behind the end of another
	chunkPause        = 10 * time.Millisecond  // behind which a fetch may begin, of the rest of one that was given up
	chunksAhead       = 4                      // of all others may one begin that is sent alone: a client's workers overtake each other
)

func newChunks() *chunks {
	c, _ := lru.New[chunksOf, *chunking](chunkingsInMemory) // errs on a size below one only
	return &chunks{c, hangUpPatience, maphash.MakeSeed()}
}

// of is what is known of a client's chunks of a blob.
func (c *chunks) of(client netip.Prefix, agent string, d cache.Digest) *chunking {
	k := chunksOf{client, maphash.String(c.seed, agent), d}
	of, ok := c.recent.Get(k)
	if !ok {
		of = &chunking{}
		if was, raced, _ := c.recent.PeekOrAdd(k, of); raced {
			of = was
		}
	}
	return of
}

// begin notes that the client begins a part of a blob of this size, below 0 where it is not known, and tells how much of it is to be sent:
// a chunk, or 0 for all. end must follow.
func (c *chunking) begin(from, size int64, now time.Time) (chunk int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := time.Duration(0)
	if c.under == 0 {
		idle = now.Sub(c.last)
	}
	if idle > nextChunk {
		c.pull = pull{}
	}
	c.under++
	c.note(from)
	if idle > chunkPause || c.left < hangUps || c.stayed || c.several || c.size < smallestChunk || from >= size-c.size || !c.whole() {
		return 0
	}
	return c.size
}

// note takes a part to what is known. One client asks for each part once, in about their order, and all are as far apart as chunks are.
func (c *pull) note(from int64) {
	if len(c.starts) > 0 && (from < slices.Min(c.starts) || slices.Contains(c.starts, from)) {
		c.several = true
	}
	nearest := int64(0)
	for _, at := range c.starts {
		if d := max(from-at, at-from); d > 0 && (nearest == 0 || d < nearest) {
			nearest = d
		}
	}
	switch {
	case nearest == 0:
	case c.size == 0 || nearest < c.size:
		c.several = c.several || c.left > 0
		c.size, c.seen, c.left = nearest, 1, 0
	case nearest == c.size:
		c.seen++
	}
	if len(c.starts) == startsInMemory {
		c.starts = c.starts[:copy(c.starts, c.starts[1:])]
	}
	c.starts = append(c.starts, from)
}

// whole tells whether the last part begins where a chunk does, is little ahead of the others, and hardly one of the chunks around it is
// left out. Some are where several replicas share the requests, and then a client that asks for the rest of a blob, or for larger chunks,
// may not be seen for another one. Who goes on with what broke on another machine behind the same address begins at a chunk too, since
// containerd writes by the MiB.
func (c *pull) whole() bool {
	others, from := c.starts[:len(c.starts)-1], c.starts[len(c.starts)-1]
	first, last := slices.Min(others), slices.Max(others)
	chunks := (max(last, from)-first)/c.size + 1
	return (from-first)%c.size == 0 && from-last <= chunksAhead*c.size && int64(len(c.starts)) >= chunks-chunks/3
}

// end notes that a part is no longer on its way.
func (c *chunking) end(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.under--
	c.last = now
}

// known is the size of a chunk, 0 where it is not known: two clients that resume are at some distance too, but hardly twice at the same.
func (c *chunking) known() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stayed || c.seen < 2 || c.size > largestChunk {
		return 0
	}
	return c.size
}

// hungUp notes that the client left where a chunk of this size ended.
func (c *chunking) hungUp(size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if size == c.size {
		c.left++
	}
}

// stays notes that a client wants more than a chunk.
func (c *chunking) stays() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stayed = true
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
			if err := w.await(size); err != nil {
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

// await lets the client hang up behind a chunk, which is an error.
func (w chunkWriter) await(size int64) error {
	http.NewResponseController(w.client).Flush()
	t := time.NewTimer(w.patience)
	defer t.Stop()
	select {
	case <-w.ctx.Done():
		w.client.gone = true
		w.chunking.hungUp(size)
		return w.ctx.Err()
	case <-t.C:
		w.chunking.stays()
		w.conn.spare(true)
		return nil
	}
}
