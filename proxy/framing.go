package proxy

import (
	"bytes"
	"errors"
	"math"
	"net/http"
	"strconv"
)

// framing watches what a client of HTTP/1 sends and lets nothing through of which two readers could disagree where it ends: that is
// how a request is smuggled inside another. net/http takes a Transfer-Encoding for granted and forgets the Content-Length beside it,
// where RFC 9112, section 6.1, wants the end of the connection, and no handler can see it any more; it also reads folded lines and
// bare line feeds, which others before or behind us read otherwise.
//
// Only headers and the sizes of chunks are looked at; bodies are counted. The last byte of a faulty header is withheld and the fault
// returned in its place, so that the request never comes to be: net/http answers 400 and closes.
type framing struct {
	part  part
	left  int64  // of a body, or of a chunk
	line  []byte // its beginning, as far as it matters
	tail  []byte // the end of a request line, whatever its length
	cr    bool   // the last byte was a carriage return
	fault error

	head header
}

// part is where in a request the next byte belongs.
type part int

const (
	partRequestLine part = iota
	partFields
	partChunkSize
	partChunkEnd
	partTrailer
	partOff // what follows is not HTTP, or will not be read
)

// header is what counts for the end of a request.
type header struct {
	connect          bool
	http11           bool
	lengths, codings int // fields that say how long the body is
	length           int64
	chunked          bool
}

// lineKept is longer than any field that is of interest and makes sense.
const lineKept = 128

var (
	errBareLine   = errors.New("a line ends without CR LF, or has a CR or NUL in it")
	errFolded     = errors.New("a header line is folded")
	errBothLength = errors.New("both Content-Length and Transfer-Encoding")
	errTwoLengths = errors.New("more than one Content-Length")
	errLength     = errors.New("the Content-Length is not a number, or has no end")
	errOldCoding  = errors.New("Transfer-Encoding in HTTP/1.0")
	errSpacedName = errors.New("a space in a field's name")
	errChunk      = errors.New("a malformed chunk")
	errSpeaksTLS  = errors.New("a TLS handshake where HTTP is expected")
)

// read reads by way of from, as far as what comes is in order.
func (f *framing) read(p []byte, from func([]byte) (int, error)) (int, error) {
	if f.fault != nil {
		return 0, f.fault
	}
	n, err := from(p)
	if k := f.admit(p[:n]); k < n {
		if k == 0 {
			return 0, f.fault
		}
		return k, nil // the fault comes with the next read
	}
	return n, err
}

// admit takes in what was read and tells how much of it may go on. Less than all of it means that fault is set.
func (f *framing) admit(p []byte) int {
	for i := 0; i < len(p); {
		switch {
		case f.part == partOff:
			return len(p)
		case f.left > 0:
			k := min(f.left, int64(len(p)-i))
			f.left -= k
			i += int(k)
		default:
			n := f.plain(p[i:])
			if i += n; i == len(p) {
				return i
			}
			if f.fault = f.take(p[i]); f.fault != nil {
				return i
			}
			i++
		}
	}
	return len(p)
}

// plain takes what p begins with and is nothing but text of a line that has begun.
func (f *framing) plain(p []byte) int {
	if f.cr || len(f.line) == 0 {
		return 0
	}
	for _, c := range [...]byte{'\r', '\n', 0} {
		if i := bytes.IndexByte(p, c); i >= 0 {
			p = p[:i]
		}
	}
	f.keep(p)
	return len(p)
}

// keep remembers of a line what matters.
func (f *framing) keep(text []byte) {
	f.line = append(f.line, text[:min(len(text), lineKept-len(f.line))]...)
	if f.part == partRequestLine {
		f.tail = append(f.tail, text[max(0, len(text)-len(version)):]...)
		f.tail = f.tail[max(0, len(f.tail)-len(version)):]
	}
}

// version is how a request line ends after which a coding counts.
const version = " HTTP/1.1"

// take is one byte that begins a line or may end it.
func (f *framing) take(c byte) error {
	switch {
	case c == recordHandshake && len(f.line) == 0 && f.part == partRequestLine:
		return errSpeaksTLS
	case f.cr && c == '\n':
		f.cr = false
		err := f.endLine()
		f.line = f.line[:0]
		return err
	case f.cr || c == '\n' || c == 0:
		return errBareLine
	case c == '\r':
		f.cr = true
		return nil
	case len(f.line) == 0 && (c == ' ' || c == '\t') && (f.part == partFields || f.part == partTrailer):
		return errFolded
	}
	f.keep([]byte{c})
	return nil
}

// endLine judges a whole line, and finds out what comes behind it.
func (f *framing) endLine() error {
	empty := len(f.line) == 0
	switch f.part {
	case partRequestLine:
		f.head = header{connect: bytes.HasPrefix(f.line, []byte(http.MethodConnect+" ")), http11: string(f.tail) == version}
		f.part, f.tail = partFields, f.tail[:0]
	case partFields:
		if empty {
			return f.endHeader()
		}
		return f.field()
	case partChunkSize:
		return f.chunk()
	case partChunkEnd:
		if !empty {
			return errChunk
		}
		f.part = partChunkSize
	case partTrailer:
		if empty {
			f.part = partRequestLine
		}
	}
	return nil
}

// field looks at one header field, of which two kinds count.
func (f *framing) field() error {
	name, value, _ := bytes.Cut(f.line, []byte(":"))
	bare := bytes.Trim(name, " \t")
	isLength, isCoding := bytes.EqualFold(bare, []byte("Content-Length")), bytes.EqualFold(bare, []byte("Transfer-Encoding"))
	switch {
	case !isLength && !isCoding:
		return nil
	case len(bare) != len(name):
		return errSpacedName
	case len(f.line) == lineKept:
		return errLength
	case isCoding:
		f.head.codings++
		f.head.chunked = bytes.EqualFold(bytes.Trim(value, " \t"), []byte("chunked"))
		return nil
	}
	n, err := strconv.ParseUint(string(bytes.Trim(value, " \t")), 10, 63)
	if err != nil {
		return errLength
	}
	f.head.lengths++
	f.head.length = int64(n)
	return nil
}

// endHeader finds out how the body is framed.
func (f *framing) endHeader() error {
	h := f.head
	switch {
	case h.codings > 0 && h.lengths > 0:
		return errBothLength
	case h.codings > 0 && !h.http11:
		return errOldCoding
	case h.lengths > 1:
		return errTwoLengths
	case h.connect, h.codings > 0 && !(h.codings == 1 && h.chunked): // to the latter net/http says 501 and closes
		f.part = partOff
	case h.chunked:
		f.part = partChunkSize
	default:
		f.left, f.part = h.length, partRequestLine
	}
	return nil
}

// chunk reads a chunk's size, of which net/http takes 16 digits too, and leaves out the extensions.
func (f *framing) chunk() error {
	text, _, _ := bytes.Cut(f.line, []byte(";"))
	n, err := strconv.ParseUint(string(bytes.TrimRight(text, " \t")), 16, 64)
	if err != nil || n > math.MaxInt64 || len(f.line) == lineKept {
		return errChunk
	}
	if n == 0 {
		f.part = partTrailer
		return nil
	}
	f.left, f.part = int64(n), partChunkEnd
	return nil
}
