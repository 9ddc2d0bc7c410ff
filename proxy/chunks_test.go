package proxy

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entrepot/entrepot/cache"
)

func TestChunkSize(t *testing.T) {
	const m = 1 << 20
	for _, row := range []struct {
		what   string
		starts []int64
		want   int64
	}{
		{"one", []int64{0}, 0},
		{"two may resume", []int64{5, 70}, 0},
		{"the same again", []int64{5, 5, 5, 5}, 0},
		{"in order", []int64{0, m, 2 * m}, m},
		{"out of order", []int64{7 * m, 0, 3 * m, 2 * m, 1 * m}, m},
		{"far apart first", []int64{0, 16 * m, 32 * m, m, 17 * m}, m},
		{"too far apart to be left behind", []int64{0, 2 * largestChunk, 4 * largestChunk}, 0},
		{"at no common distance", []int64{0, m, 3 * m, 10 * m, 20 * m}, 0},
	} {
		c := &chunking{}
		for _, at := range row.starts {
			c.begin(at, bigSize, time.Time{})
		}
		if got := c.known(); got != row.want {
			t.Errorf("%s: got %d, want %d", row.what, got, row.want)
		}
	}
	c := &chunking{}
	for n := range int64(10 * startsInMemory) {
		c.begin(n*m, bigSize, time.Time{})
	}
	if len(c.starts) != startsInMemory || c.known() != m {
		t.Errorf("got %d starts and %d, want %d and %d", len(c.starts), c.known(), startsInMemory, m)
	}
	if c.stays(); c.known() != 0 {
		t.Error("a client stayed, and still is expected to hang up")
	}
}

// TestChunkAlone: what is sent to whom has left behind chunks of 1 MiB, of which those at 0, 1 and 2 MiB were asked for before.
func TestChunkAlone(t *testing.T) {
	const m, end = 1 << 20, 100 << 20
	start := time.Now()
	begun := func(at ...int64) func(*chunking) {
		return func(c *chunking) {
			for _, from := range at {
				c.begin(from, end, start)
			}
		}
	}
	left := func(c *chunking, first, last int64) { // behind each chunk from the first to the last
		for n := first; n <= last; n++ {
			c.begin(n*m, end, start)
			c.hungUp(m)
			c.end(start)
		}
	}
	for _, row := range []struct {
		what  string
		later time.Duration
		then  func(*chunking)
		from  int64
		want  int64
	}{
		{"the next one", chunkPause, nil, 3 * m, m},
		{"one that may begin a fetch", chunkPause + 1, nil, 3 * m, 0},
		{"one behind that", 0, func(c *chunking) { c.begin(3*m, end, start.Add(chunkPause+1)) }, 4 * m, m},
		{"one behind that, much later", 0, func(c *chunking) { c.begin(3*m, end, start.Add(nextChunk+1)) }, 4 * m, 0},
		{"one further on, of many", 0, begun(3*m, 4*m, 5*m, 6*m, 7*m, 8*m), 11 * m, m},
		{"too far on", 0, begun(3*m, 4*m, 5*m, 6*m, 7*m, 8*m), 15 * m, 0},
		{"as far ahead as may be", 0, func(c *chunking) { left(c, 3, 30) }, (30 + chunksAhead) * m, m},
		{"too far ahead", 0, func(c *chunking) { left(c, 3, 30) }, (31 + chunksAhead) * m, 0},
		{"one further on, of few", 0, nil, 4 * m, m},
		{"three further on, of few", 0, nil, 6 * m, 0},
		{"the one left out", 0, begun(4 * m), 3 * m, m},
		{"where every other one goes to another replica", 0, begun(4*m, 6*m, 8*m, 10*m), 12 * m, 0},
		{"late, with another on its way", time.Hour, begun(3 * m), 4 * m, m},
		{"the first", 0, nil, 0, 0},
		{"asked for before", 0, nil, 2 * m, 0},
		{"not where one begins", 0, nil, 3*m + 1, 0},
		{"not where one begins, one further on", 0, nil, 4*m + m/2, 0},
		{"late", nextChunk + 1, nil, 3 * m, 0},
		{"of another pull by larger ones", nextChunk + 1, func(c *chunking) { c.begin(0, end, start.Add(nextChunk+1)) }, 8 * m, 0},
		{"of another pull at the same time", 0, begun(0), 3 * m, 0},
		{"of another pull that begins in the middle", 0, begun(m, 4*m), 3 * m, 0},
		{"of another pull that goes on anywhere", 0, begun(2*m + m/2), 3 * m, 0},
		{"so old that it may have been asked for", 0, func(c *chunking) {
			for n := range int64(startsInMemory) {
				c.begin((4+n)*m, end, start)
			}
		}, 3 * m, 0},
		{"the last but one", 0, func(c *chunking) { left(c, 3, 97) }, 98 * m, m},
		{"the last", 0, func(c *chunking) { left(c, 3, 98) }, 99 * m, 0},
		{"of one that stayed", 0, (*chunking).stays, 3 * m, 0},
		{"of chunks too small", 0, func(c *chunking) { c.size = smallestChunk / 2 }, 3 * m, 0},
		{"left once", 0, func(c *chunking) { c.left = hangUps - 1 }, 3 * m, 0},
	} {
		c := &chunking{}
		for n := range int64(3) {
			c.begin(n*m, end, start)
		}
		for range 3 {
			c.hungUp(m)
			c.hungUp(m / 2) // what is known has changed since
			c.end(start)
		}
		if row.then != nil {
			row.then(c)
		}
		if got := c.begin(row.from, end, start.Add(row.later)); got != row.want {
			t.Errorf("%s: got %d, want %d", row.what, got, row.want)
		}
	}
	c := &chunking{}
	for n := range int64(3) {
		c.begin(n*m, end, start)
		c.hungUp(m / 2)
	}
	if got := c.begin(3*m, end, start); got != 0 {
		t.Errorf("one that left elsewhere: got %d, want all", got)
	}
	c = &chunking{}
	left(c, 0, 2)
	if got := c.begin(3*m, -1, start); got != 0 {
		t.Errorf("of a blob of which is not known how long it is: got %d, want all", got)
	}
}

// TestSpare: the kernel holds little for a client that may hang up anywhere, as much as ever for one of whom it is known where, and little
// again when that was wrong.
func TestSpare(t *testing.T) {
	st := newSite(t)
	st.server.chunks.patience = time.Millisecond
	c, err := net.Dial("tcp", st.doors[doorMirror])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn := &wire{Conn: c}
	limit := func() (bytes int) {
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err == nil {
			raw.Control(func(fd uintptr) { bytes, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT) })
		}
		if err != nil {
			t.Fatal(err)
		}
		return bytes
	}
	system := limit()
	var out http.ResponseWriter
	for n, want := range []int{unsent, unsent, system, system} {
		r := httptest.NewRequestWithContext(context.WithValue(t.Context(), wireKey{}, conn), http.MethodGet, "/", nil)
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", n<<20))
		out, _, _ = st.server.writer(&countingWriter{ResponseWriter: httptest.NewRecorder()}, r, &cache.Blob{Digest: cache.DigestOf(nil), Size: bigSize})
		if got := limit(); got != want {
			t.Errorf("part %d: got %d bytes in the kernel, want %d", n, got, want)
		}
	}
	if err := out.(chunkWriter).await(1 << 20); err != nil || limit() != unsent {
		t.Errorf("a client that stays: got %d bytes and %v, want %d", limit(), err, unsent)
	}
}

// TestChunks: to a client that asks for chunk after chunk by parts with an open end, as containerd does, no byte is sent behind a chunk.
// One that stays gets all.
func TestChunks(t *testing.T) {
	const chunk = 1 << 20
	for _, stays := range []bool{false, true} {
		st := newCargo(t, bigSize, func(c *Config) { c.ReaderPatience = time.Minute })
		now := time.Now()
		st.server.now = func() time.Time { return now }
		st.hold()
		for _, way := range st.rawWays() {
			st.server.chunks = newChunks()
			st.server.chunks.patience = time.Minute
			if stays {
				st.server.chunks.patience = time.Millisecond
			}
			ask := func(from int64) (net.Conn, io.Reader) {
				c := way.dial()
				fmt.Fprintf(c, "GET %s%s HTTP/1.1\r\nHost: %s\r\nRange: bytes=%d-\r\n\r\n", way.path, st.path, corp, from)
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil || resp.StatusCode != 206 {
					t.Fatalf("%s: got %v, %v", way.what, resp, err)
				}
				return c, resp.Body
			}
			st.log.reset()
			for n := range int64(3) {
				c, _ := ask(n * chunk)
				c.Close()
			}
			st.log.await(t, kindBlob, 3)
			st.log.reset()
			from, want := int64(5*chunk), int64(chunk)
			if stays {
				from, want = 0, bigSize
			}
			c, body := ask(from)
			sum := sha256.New()
			if n, err := io.CopyN(sum, body, want); n != want {
				t.Errorf("%s: got %d bytes, want %d: %v", way.what, n, want, err)
			}
			c.Close()
			if l := st.log.await(t, kindBlob, 1)[0]; l.Bytes != want {
				t.Errorf("%s: %d bytes were sent, want %d", way.what, l.Bytes, want)
			}
			if got := hex.EncodeToString(sum.Sum(nil)); stays && !strings.HasSuffix(st.path, got) {
				t.Errorf("%s: got bytes of digest %s, want those of %s", way.what, got, st.path)
			}
		}
	}
}

// TestChunkConnection: a client that has left behind two chunks is answered with the next ones alone, and keeps its connection. Others at
// its address are not.
func TestChunkConnection(t *testing.T) {
	const chunk = 1 << 20
	st := newCargo(t, bigSize, func(c *Config) { c.ReaderPatience = time.Minute })
	now := time.Now()
	st.server.now = func() time.Time { return now }
	st.hold()
	digest, err := cache.ParseDigest(st.path[strings.LastIndex(st.path, "/")+1:])
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range st.rawWays() {
		st.server.chunks = newChunks()
		st.server.chunks.patience = time.Minute
		sum, sent := sha256.New(), int64(0)
		ask := func(c net.Conn, from, want int64, fields ...string) *http.Response {
			t.Helper()
			fmt.Fprintf(c, "GET %s%s HTTP/1.1\r\nHost: %s\r\nRange: bytes=%d-\r\n%s\r\n\r\n", way.path, st.path, corp, from,
				strings.Join(append(fields, "A: b"), "\r\n"))
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.StatusCode != 206 {
				t.Fatalf("%s: got %v, %v", way.what, resp, err)
			}
			field := fmt.Sprintf("bytes %d-%d/%d", from, from+want-1, bigSize)
			if got := resp.Header.Get("Content-Range"); resp.ContentLength != want || got != field {
				t.Errorf("%s: got %d bytes, Content-Range %s, want %d, %s", way.what, resp.ContentLength, got, want, field)
			}
			return resp
		}
		take := func(resp *http.Response, want int64) {
			t.Helper()
			n, err := io.CopyN(sum, resp.Body, want)
			if err != nil {
				t.Fatalf("%s: got %d bytes, want %d: %v", way.what, n, want, err)
			}
			sent += n
		}
		st.log.reset()
		one := "User-Agent: one/1"
		for n := range int64(4) { // the size is known by the third, so two have left behind it
			c := way.dial()
			take(ask(c, sent, bigSize-sent, one), chunk)
			c.Close()
			st.log.await(t, kindBlob, int(n)+1)
		}
		c := way.dial()
		for sent < bigSize {
			want := min(chunk, bigSize-sent)
			if sent == 6*chunk {
				for _, others := range [][]string{{"User-Agent: another/1"}, {one, `If-Range: "` + digest.String() + `"`}} {
					c := way.dial()
					ask(c, sent, bigSize-sent, others...)
					c.Close()
				}
			}
			take(ask(c, sent, want, one), want)
		}
		c.Close()
		if got := hex.EncodeToString(sum.Sum(nil)); !strings.HasSuffix(st.path, got) {
			t.Errorf("%s: got bytes of digest %s, want those of %s", way.what, got, st.path)
		}
		for _, c := range st.server.chunks.recent.Values() {
			eventually(t, "no part is on its way", func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.under == 0
			})
		}
	}
}
