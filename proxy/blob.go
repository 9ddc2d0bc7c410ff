package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/entrepot/entrepot/cache"
)

const octetStream = "application/octet-stream"

// maxRanges is how many parts one answer may have. Clients of zstd:chunked layers send as many, and halve them on a 400.
const maxRanges = 1024

// serveBlob answers GET and HEAD of a blob, ranges included: from the cache, from the fill that is under way, or by a new one.
func (s *Server) serveBlob(q *request, w *countingWriter, r *http.Request) {
	if field := r.Header.Get("Range"); field != "" && !strings.HasPrefix(field, "bytes=") {
		r.Header.Del("Range") // a unit that is not known is ignored (RFC 9110, section 14.2); net/http refuses it
	}
	if r.Method == http.MethodHead {
		s.headBlob(q, w, r)
		return
	}
	if strings.Count(r.Header.Get("Range"), ",") >= maxRanges {
		q.refuse(w, http.StatusBadRequest, codeUnsupported, "more than 1024 ranges in one request")
		return
	}
	waiting, settle, done := limit(r, s.waits.whole)
	defer done()
	if err := s.mayRead(q, waiting); err != nil {
		q.fail(w, waiting, err)
		return
	}
	opening, opened, end := limit(waiting, s.waits.opening(q))
	defer end()
	b, err := s.openBlob(opening.Context(), q, r)
	if err != nil && context.Cause(opening.Context()) == errImpatient {
		s.serveLate(q, w, r, errImpatient)
		return
	}
	if err != nil {
		q.fail(w, waiting, err)
		return
	}
	settle()
	opened()
	defer b.Close()
	s.sendBlob(q, w, r, b, outcomes[b.Outcome])
}

// openBlob finds the content or starts to bring it. A small range alone does not: lazy snapshotters probe layers of gigabytes that
// they may never need.
func (s *Server) openBlob(ctx context.Context, q *request, r *http.Request) (*cache.Blob, error) {
	up := s.source(q, r)
	if from, to, ok := singleRange(r.Header.Get("Range")); ok {
		b, err := s.cfg.Store.Probe(ctx, q.digest, from, to, up)
		if !errors.Is(err, cache.ErrRange) {
			return b, err
		}
		// A range outside: net/http refuses it, once the size is known.
	}
	return s.cfg.Store.Blob(ctx, q.digest, up)
}

// singleRange reads "bytes=0-9", "bytes=5-" and "bytes=-5" (RFC 9110, section 14.1.2): from up to but not including to, which is -1 for
// an open end; a suffix is a negative from. Anything else is for net/http to judge.
func singleRange(field string) (from, to int64, ok bool) {
	span, isBytes := strings.CutPrefix(field, "bytes=")
	first, last, dash := strings.Cut(span, "-")
	if !isBytes || !dash || first == "" && last == "" {
		return 0, 0, false
	}
	number := func(text string, none int64) int64 {
		if text == "" {
			return none
		}
		n, err := strconv.ParseInt(text, 10, 62)
		if err != nil || n < 0 {
			ok = false
		}
		return n
	}
	ok = true
	if first == "" {
		from = -number(last, 0)
		return from, -1, ok && from < 0
	}
	from, to = number(first, 0), number(last, -2)+1
	return from, to, ok && (to < 0 || from < to)
}

// serveLate answers when upstream has not said anything for as long as clients wait for a header: with the size that a manifest says,
// and the bytes when they come; else by a 503, on which clients try again.
func (s *Server) serveLate(q *request, w *countingWriter, r *http.Request, late error) {
	size := s.access.size(q, q.digest)
	if size == 0 || q.door == doorMirror || r.Header.Get("Range") != "" {
		q.fail(w, r, late)
		return
	}
	q.outcome(w, cacheMiss)
	describe(w, q.digest, octetStream)
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	w.WriteHeader(http.StatusOK)
	http.NewResponseController(w).Flush()
	b, err := s.cfg.Store.Blob(r.Context(), q.digest, s.source(q, r))
	if err == nil {
		defer b.Close()
		_, err = io.Copy(bigPieces{w}, b)
	}
	if err != nil || w.short(r.Method) {
		q.err = err
		panic(http.ErrAbortHandler)
	}
}

// headBlob never starts a transfer: what is not held is asked for by HEAD. So is what is held, at the doors through which can be pushed:
// by a HEAD of a blob clients find out whether they have to send it, and the registry may have thrown it away since we saw it. Pulls have
// no use for one.
func (s *Server) headBlob(q *request, w *countingWriter, r *http.Request) {
	b, err := s.cfg.Store.Lookup(q.digest)
	held := err == nil
	if held {
		defer b.Close()
	}
	if held && q.door == doorMirror {
		if err := s.mayRead(q, r); err != nil {
			q.fail(w, r, err)
			return
		}
		s.sendBlob(q, w, r, b, cacheHit)
		return
	}
	waiting, _, done := limit(r, s.waits.whole)
	defer done()
	f, err := s.describeOnce(q, waiting)
	switch {
	case err != nil && held && troubled(err) && s.couldRead(q, r, s.now()):
		q.err = err
		s.sendBlob(q, w, r, b, cacheStale)
	case err != nil:
		if isGone(err) && s.couldRead(q, r, s.now()) { // a no to a stranger says nothing of what is there
			s.access.unhold(q, q.digest)
		}
		q.fail(w, waiting, err)
	case held:
		s.sendBlob(q, w, r, b, cacheRevalidated)
	default:
		q.tellSize(w, f)
	}
}

// tellSize is the answer to a HEAD of a blob that is not held.
func (q *request) tellSize(w http.ResponseWriter, f found) {
	q.outcome(w, cacheMiss)
	w.Header().Set("Cache-Status", "entrepot; fwd=uri-miss")
	describe(w, q.digest, octetStream)
	w.Header().Set("Accept-Ranges", "bytes")
	if f.size >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(f.size, 10))
	}
}

var outcomes = map[cache.Outcome]string{
	cache.Hit: cacheHit, cache.Miss: cacheMiss, cache.Collapsed: cacheCollapsed, cache.Uncached: cacheBypass,
	cache.Probed: cacheBypass,
}

// sendBlob writes b, of which the log says word. net/http answers ranges and conditions; the strong ETag is the digest. A body that cannot
// be finished is cut off and never ended politely: the client must not take a part for the whole.
func (s *Server) sendBlob(q *request, w *countingWriter, r *http.Request, b *cache.Blob, word string) {
	if b.Size == 0 { // no last piece to withhold: the header is all of it, and must wait for the judgement
		if _, err := b.Read(make([]byte, 1)); err != io.EOF {
			q.fail(w, r, fmt.Errorf("blob %s: %w", b.Digest, err))
			return
		}
		r = r.Clone(r.Context())
		r.Header.Del("Range") // net/http makes a 206 with a Content-Range of 0--1 of the last bytes of nothing
	}
	q.outcome(w, word)
	describe(w, b.Digest, octetStream)
	out, r, end := s.writer(w, r, b)
	defer end()
	if b.Size < 0 {
		out.WriteHeader(http.StatusOK)
		io.Copy(out, b)
	} else {
		w.ranged = true
		http.ServeContent(out, r, "", time.Time{}, b.ReadSeekCloser)
	}
	if err := b.Err(); err != nil {
		if r.Context().Err() == nil {
			q.err = err
		}
		panic(http.ErrAbortHandler)
	}
	if w.short(r.Method) {
		if b.Outcome == cache.Hit && r.Context().Err() == nil {
			s.cfg.Store.Suspect(b.Digest) // the kernel's way does not tell a read error from a client that left
		}
		panic(http.ErrAbortHandler)
	}
}

// writer is how b goes out: at once if it is being brought, in large pieces if it is held, and with an eye on clients that hang up early
// if that is what they ask like; the request that comes back asks for no more than such a client takes. end must be called when it is out.
func (s *Server) writer(w *countingWriter, r *http.Request, b *cache.Blob) (_ http.ResponseWriter, _ *http.Request, end func()) {
	var out bodyWriter = bigPieces{w}
	if b.Outcome != cache.Hit {
		out = prompt{w}
	}
	if r.ProtoMajor != 1 {
		return out, r, func() {}
	}
	from, to, part := singleRange(r.Header.Get("Range"))
	conn := r.Context().Value(wireKey{}).(*wire)
	open := part && from >= 0 && to < 0 && (b.Size < 0 || from < b.Size)
	if !open || r.Method != http.MethodGet || r.Header.Get("If-Range") != "" { // who sends the latter goes on with what broke
		conn.spare(false)
		return out, r, func() {}
	}
	c := s.chunks.of(conn.network, r.UserAgent(), b.Digest)
	chunk := c.begin(from, b.Size, s.now())
	end = func() { c.end(s.now()) }
	w.chunk = c.known() > 0
	conn.spare(!w.chunk)
	if chunk == 0 {
		return chunkWriter{out, w, conn, r.Context(), c, s.chunks.patience}, r, end
	}
	r = r.Clone(r.Context())
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+chunk-1))
	return out, r, end
}

// bigPieces copies in large pieces where the kernel does not do it. To a client that is quick they become 256 KiB, whose TLS records go
// out by one write (see opened). A slow one, of which there are more, holds little memory: by HTTP/1.1 a third less with 32 KiB than
// with 64, which are not faster; by HTTP/2, where each piece waits for its turn on the connection, they cost 9 % more CPU time.
type bigPieces struct{ *countingWriter }

const (
	smallPiece  = 32 << 10
	middlePiece = 64 << 10
	largePiece  = 256 << 10
)

var (
	smallPieces  = sync.Pool{New: func() any { return newPiece(smallPiece) }}
	middlePieces = sync.Pool{New: func() any { return newPiece(middlePiece) }}
	largePieces  = sync.Pool{New: func() any { return newPiece(largePiece) }}
)

// pieces are for a client that has not shown yet that it is quick. One of whom it is known where it hangs up has all of its chunk in the
// kernel soon.
func (w *countingWriter) pieces() *sync.Pool {
	if w.http1() && !w.chunk {
		return &smallPieces
	}
	return &middlePieces
}

func newPiece(size int) *[]byte {
	b := make([]byte, size)
	return &b
}

// A client is quick that has taken so much in so little time: more than the buffers of its socket and ours take for one that has stopped,
// and 40 MiB/s. Large pieces spare it a tenth of the CPU time of a byte by HTTP/1.1 and TLS; by HTTP/2, which has middle ones before,
// nothing that could be measured.
const (
	trialBytes = 16 << 20
	trialTime  = 400 * time.Millisecond
)

// ReadFrom implements io.ReaderFrom.
func (p bigPieces) ReadFrom(r io.Reader) (int64, error) {
	if !p.plain() {
		return copyPieces(p.countingWriter, p.pieces(), r)
	}
	n, err := p.countingWriter.ReadFrom(r)
	if part, ok := r.(*io.LimitedReader); err == nil && (!ok || part.N == 0) || errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	// The kernel does not tell a file that ends early or cannot be read from a client that left. The file's reader knows where to go
	// on, and to one who left the next write fails; one who takes nothing has been waited for, and is not again.
	p.gone = false
	more, err := copyPieces(p.countingWriter, p.pieces(), r)
	return n + more, err
}

// copyPieces is io.Copy with buffers of pool, and with large ones when w has shown that it is quick.
func copyPieces(w io.Writer, pool *sync.Pool, r io.Reader) (int64, error) {
	began := time.Now()
	n, err := copyBy(pool, w, io.LimitReader(r, trialBytes))
	if err != nil || n < trialBytes {
		return n, err
	}
	if time.Since(began) < trialTime {
		pool = &largePieces
	}
	more, err := copyBy(pool, w, r)
	return n + more, err
}

// copyBy is io.Copy with a buffer of the pool, whatever else w and r can do.
func copyBy(pool *sync.Pool, w io.Writer, r io.Reader) (int64, error) {
	buf := pool.Get().(*[]byte)
	defer pool.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, *buf)
}
