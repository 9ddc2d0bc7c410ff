package http1

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/entrepot/entrepot/proxy/serve"
)

// exchange is a request and its answer.
type exchange struct {
	request  *http.Request
	url      url.URL
	ctx      serve.Context
	response Response
}

// maxFields is how many fields a header of a pull has at most; what has more is for the other server.
const maxFields = 100

// header reads until a whole header is there and tells its length, which is zero where it is for the other server.
func (c *conn) header() (int, error) {
	if c.start == c.end {
		c.start, c.end = 0, 0
	}
	begun := !c.asked.Load() // the first header is waited for no longer than its rest
	if begun {
		c.readWithin(c.server.HeaderTimeout)
	} else {
		c.readWithin(c.server.IdleTimeout)
	}
	for {
		have := c.buf[c.start:c.end]
		if n, plain := headerEnd(have); n > 0 || !plain {
			return n, nil
		}
		if len(have) > 0 && !begun {
			begun = true
			c.readWithin(c.server.HeaderTimeout)
		}
		if c.end == len(c.buf) && !c.grow() {
			return 0, nil
		}
		n, err := c.Conn.Read(c.buf[c.end:])
		c.end += n
		if n == 0 && err == io.EOF && c.start < c.end {
			return 0, nil
		}
		if n == 0 && err != nil {
			return 0, err
		}
	}
}

func (c *conn) readWithin(d time.Duration) {
	if at, due := serve.Within(d, c.deadline); due {
		c.deadline = at
		c.SetReadDeadline(at)
	}
}

// grow makes room for more of a header. False means that it is too large.
func (c *conn) grow() bool {
	into := c.buf
	if c.start == 0 {
		if len(c.buf) == largeHeader {
			return false
		}
		into = make([]byte, largeHeader)
	}
	c.start, c.end = 0, copy(into, c.buf[c.start:c.end])
	c.buf = into
	return true
}

// headerEnd is the length of the header that b begins with, zero where its end is not there; plain tells whether it may still become
// one of ours. A line feed without its carriage return may be the end of a header to another reader.
func headerEnd(b []byte) (n int, plain bool) {
	if !begins(b, "GET /") && !begins(b, "HEAD /") && !begins(b, "CONNECT ") {
		return 0, false
	}
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		return i + 4, true
	}
	for i := 0; ; i++ {
		next := bytes.IndexByte(b[i:], '\n')
		if next < 0 {
			return 0, true
		}
		if i += next; b[i-1] != '\r' { // a method stands before it
			return 0, false
		}
	}
}

// begins tells whether b has such a beginning, as far as it goes.
func begins(b []byte, with string) bool {
	n := min(len(b), len(with))
	return string(b[:n]) == with[:n]
}

// parse makes x of the header of n bytes that was read. False leaves the request to the other server.
func (c *conn) parse(x *exchange, n int) bool {
	x.ctx = serve.Context{Conn: c}
	r := new(http.Request).WithContext(&x.ctx) // the only way to give it one without a copy
	x.request = r
	if !c.known.parse(r, &x.url, c.buf[c.start:c.start+n-2]) {
		return false
	}
	r.RemoteAddr, r.TLS = c.remote, c.tls
	last := r.Close || r.Method == http.MethodConnect // what follows a CONNECT that was refused may be anything (RFC 9931)
	x.response = Response{conn: c, ctx: &x.ctx, request: r, length: -1, close: last}
	return true
}

// known is what the fields of the last requests of a connection were, all but the request line: nearly all clients say the same again and
// again. Not to take them apart each time spares a manifest hit 1 to 3 % of its CPU time.
type known struct {
	text   []byte      // of the last request
	header http.Header // theirs, nil until they came twice; no handler has it
	host   string
	close  bool
}

// maxKnown is how long they may be: a connection that waits for a request has them.
const maxKnown = 4 << 10

// parse is parseHeader of text.
func (k *known) parse(r *http.Request, u *url.URL, text []byte) bool {
	line, fields, _ := bytes.Cut(text, []byte("\r\n"))
	same := bytes.Equal(fields, k.text)
	if same && k.header != nil && parseLine(r, u, string(line)) && r.Method != http.MethodConnect {
		r.Header, r.Host, r.Close = maps.Clone(k.header), k.host, k.close
		return true
	}
	if !parseHeader(r, u, string(text)) {
		return false
	}
	switch {
	case r.Method == http.MethodConnect || len(fields) > maxKnown:
	case !same:
		k.text, k.header = append(k.text[:0], fields...), nil
	default:
		k.header, k.host, k.close = maps.Clone(r.Header), r.Host, r.Close
		for name, values := range k.header {
			k.header[name] = slices.Clip(values) // so that nobody appends to what others have
		}
	}
	return true
}

// parseHeader takes text, a header without its empty line, apart. What it takes, http.ReadRequest takes too and understands the same;
// it takes much less.
func parseHeader(r *http.Request, u *url.URL, text string) bool {
	line, text, _ := strings.Cut(text, "\r\n")
	if !parseLine(r, u, line) {
		return false
	}
	count := strings.Count(text, "\n")
	if count > maxFields {
		return false
	}
	values := make([]string, 0, count)
	r.Header = make(http.Header, count)
	for text != "" {
		end := strings.IndexByte(text, '\n')
		if end < 1 || text[end-1] != '\r' {
			return false
		}
		line, text = text[:end-1], text[end+1:]
		raw, value, _ := strings.Cut(line, ":")
		name := fieldName(raw)
		if name == "" || len(raw) == len(line) || !all(value, isText) {
			return false
		}
		value = trimmed(value)
		switch name {
		case "Host":
			if r.Host != "" || value == "" || !all(value, isHost) {
				return false
			}
			r.Host = value
			continue
		case "Connection":
			if r.Close = strings.EqualFold(value, "close"); !r.Close && !strings.EqualFold(value, "keep-alive") || r.Header[name] != nil {
				return false
			}
		case "Content-Length", "Transfer-Encoding", "Expect", "Upgrade", "Trailer", "Te", "Pragma":
			return false
		}
		if more := r.Header[name]; more != nil {
			r.Header[name] = append(more, value)
			continue
		}
		values = append(values, value)
		r.Header[name] = values[len(values)-1 : len(values) : len(values)]
	}
	if r.Host == "" {
		return false
	}
	if r.Method == http.MethodConnect { // whatever the field says (RFC 9112, section 3.2.3)
		r.Host = u.Host
	}
	return true
}

// parseLine takes a request line apart.
func parseLine(r *http.Request, u *url.URL, line string) bool {
	method, rest, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(rest, " ")
	connect := method == http.MethodConnect
	if version != "HTTP/1.1" || !all(target, isPrintable) || !connect && !parseTarget(u, target) || connect && !parseAuthority(u, target) {
		return false
	}
	r.Method, r.URL, r.RequestURI, r.Body = method, u, target, http.NoBody
	r.Proto, r.ProtoMajor, r.ProtoMinor = version, 1, 1
	return true
}

// fieldName is the canonical form of a field's name, which most come in, "" where it is none.
func fieldName(s string) string {
	first, canonical := true, true
	for i := range len(s) {
		c := s[i]
		if kinds[c]&isToken == 0 {
			return ""
		}
		if first && 'a' <= c && c <= 'z' || !first && 'A' <= c && c <= 'Z' {
			canonical = false
		}
		first = c == '-'
	}
	if canonical {
		return s
	}
	return textproto.CanonicalMIMEHeaderKey(s)
}

// trimmed is a value without the blanks around it. Most have one, before it.
func trimmed(s string) string {
	if len(s) > 2 && s[0] == ' ' && s[1] > ' ' && s[len(s)-1] > ' ' {
		return s[1:]
	}
	return strings.Trim(s, " \t")
}

// parseTarget reads the target of a request: most have nothing in them but a path.
func parseTarget(u *url.URL, target string) bool {
	if all(target, isPath) {
		u.Path = target
		return true
	}
	parsed, err := url.ParseRequestURI(target)
	if err != nil {
		return false
	}
	*u = *parsed
	return true
}

// parseAuthority reads the target of a CONNECT, host:port.
func parseAuthority(u *url.URL, target string) bool {
	if !all(target, isHost) {
		return false
	}
	parsed, err := url.ParseRequestURI("http://" + target)
	if err != nil || parsed.Host != target || target == "" {
		return false
	}
	u.Host = target
	return true
}

// What a byte may be part of. Printable is what a target consists of, text what a value does (RFC 9110, section 5.5, without obs-text).
const (
	isToken = 1 << iota
	isPath
	isHost
	isPrintable
	isText
)

var kinds = func() (kinds [256]uint8) {
	const digits, letters = "0123456789", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	mark := func(kind uint8, chars string) {
		for _, c := range []byte(chars) {
			kinds[c] |= kind
		}
	}
	mark(isToken, digits+letters+"!#$%&'*+-.^_`|~")
	mark(isPath, digits+letters+"-._~/:")
	mark(isHost, digits+letters+"-._:[]")
	for c := byte(' '); c < 0x7f; c++ {
		kinds[c] |= isText
		if c > ' ' {
			kinds[c] |= isPrintable
		}
	}
	kinds['\t'] |= isText
	return kinds
}()

func all(s string, kind uint8) bool {
	for i := range len(s) {
		if kinds[s[i]]&kind == 0 {
			return false
		}
	}
	return true
}
