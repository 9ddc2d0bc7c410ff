package http2

import (
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
)

// headers begins a stream, or ends the body of one by trailers, of which nobody here knows what to make.
func (c *conn) headers(f *http2.MetaHeadersFrame) error {
	id := f.StreamID
	if id%2 == 0 {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.mu.Lock()
	st, begun := c.streams[id], id <= c.highest
	c.mu.Unlock()
	switch {
	case st != nil:
		return c.trailers(st, f)
	case begun:
		return c.again(id)
	case f.HasPriority() && f.Priority.StreamDep == id:
		return c.refuse(http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol})
	}
	st = &stream{conn: c, id: id, woken: make(chan struct{}, 1)}
	r, ok := st.request(f)
	if !ok {
		return c.refuse(http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol})
	}
	st.response.begin(st, r, f.Truncated)
	st.theirs = f.StreamEnded()
	return c.begin(st, r)
}

// begin lets a new stream in.
func (c *conn) begin(st *stream, r *http.Request) error {
	most := int(c.server.MaxStreams)
	c.mu.Lock()
	if c.retiring || len(c.streams) >= most {
		c.mu.Unlock()
		return c.refuse(http2.StreamError{StreamID: st.id, Code: http2.ErrCodeRefusedStream})
	}
	defer c.mu.Unlock()
	c.highest = st.id
	st.window = c.initial
	c.streams[st.id] = st
	switch {
	case c.running < most:
		c.running++
		c.handlers.Add(1)
		go st.run(r) // Serve waits for it
	case len(c.queue) < maxQueue*most:
		c.queue = append(c.queue, queued{st, r})
	default:
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	return nil
}

// follow begins with the next request that waits for a handler, if there is one whose client still does. The caller holds mu.
func (c *conn) follow() bool {
	for len(c.queue) > 0 {
		next := c.queue[0]
		c.queue[0] = queued{}
		c.queue = c.queue[1:]
		if next.stream.failure() == nil {
			c.handlers.Add(1)
			go next.stream.run(next.request)
			return true
		}
		left, _ := next.stream.body.empty()
		c.owe(left)
	}
	return false
}

// again judges a header for a stream that is over (RFC 9113, section 5.1), or was passed over and is closed by that (section 5.1.1).
func (c *conn) again(id uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(c.ended, ended{id, false}) {
		return http2.ConnectionError(http2.ErrCodeStreamClosed)
	}
	return c.stray(id, http2.ConnectionError(http2.ErrCodeProtocol))
}

// trailers end a request's body.
func (c *conn) trailers(st *stream, f *http2.MetaHeadersFrame) error {
	if !st.body.over() && (!f.StreamEnded() || len(f.PseudoFields()) > 0) {
		return c.refuse(http2.StreamError{StreamID: st.id, Code: http2.ErrCodeProtocol})
	}
	return c.add(st, nil, 0, true)
}

// data takes a part of a request's body.
func (c *conn) data(f *http2.DataFrame) error {
	size := int(f.Length) // with its padding (RFC 9113, section 6.9.1)
	c.mu.Lock()
	c.room -= size
	if c.room < 0 {
		defer c.mu.Unlock()
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	st := c.streams[f.StreamID]
	if st != nil {
		c.mu.Unlock()
		return c.add(st, f.Data(), size, f.StreamEnded())
	}
	err := c.stray(f.StreamID, http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeStreamClosed})
	c.mu.Unlock()
	c.credit(size, nil, 0)
	if wrong, ok := err.(http2.StreamError); ok {
		return c.refuse(wrong)
	}
	return err
}

func (c *conn) add(st *stream, p []byte, size int, last bool) error {
	spare, more, wrong := st.body.add(p, size, last)
	c.credit(spare, st, more)
	if wrong != http2.ErrCodeNo {
		return c.refuse(http2.StreamError{StreamID: st.id, Code: wrong})
	}
	if last {
		st.half(false)
	}
	return nil
}

// request makes what the handler sees. False is a request that is malformed (RFC 9113, section 8.1.1) in what the framer does not check.
func (st *stream) request(f *http2.MetaHeadersFrame) (*http.Request, bool) {
	c := st.conn
	method, scheme, path := f.PseudoValue("method"), f.PseudoValue("scheme"), f.PseudoValue("path")
	host := f.PseudoValue("authority")
	connect := method == http.MethodConnect // RFC 9113, section 8.5
	switch {
	case !httpguts.ValidHeaderFieldName(method), connect && (path != "" || scheme != "" || host == ""): // a method is a token too
		return nil, false
	case !connect && (path == "" || scheme != "https" && scheme != "http"):
		return nil, false
	}
	h, ok := fieldsOf(f)
	if !ok {
		return nil, false
	}
	for _, named := range h["Host"] {
		if host == "" {
			host = named
		}
		if !strings.EqualFold(named, host) { // RFC 9113, section 8.3.1
			return nil, false
		}
	}
	delete(h, "Host")
	length, ok := bodyLength(h, f.StreamEnded())
	u, fine := target(path, host)
	if !ok || !fine || !httpguts.ValidHostHeader(host) {
		return nil, false
	}
	if connect {
		path = host
	}
	st.ctx.Conn = c
	r := new(http.Request).WithContext(&st.ctx) // the only way to give it one without a copy
	r.Method, r.URL, r.Host, r.RequestURI, r.Header = method, u, host, path, h
	r.Proto, r.ProtoMajor, r.RemoteAddr, r.TLS = "HTTP/2.0", 2, c.remote, c.tls
	r.Body, r.ContentLength = http.NoBody, length
	if !f.StreamEnded() {
		expect := strings.EqualFold(h.Get("Expect"), "100-continue")
		if expect {
			delete(h, "Expect")
		}
		st.body.begin(st, length, expect)
		r.Body = &st.body
	}
	return r, true
}

// fieldsOf makes the header of a request, without what stands for the first line of HTTP/1.1.
func fieldsOf(f *http2.MetaHeadersFrame) (http.Header, bool) {
	fields := f.RegularFields()
	h := make(http.Header, len(fields))
	values := make([]string, 0, len(fields)) // of all of them, mostly one of each
	for _, field := range fields {
		switch field.Name {
		case "connection", "proxy-connection", "keep-alive", "upgrade", "transfer-encoding": // RFC 9113, section 8.2.2
			return nil, false
		case "te":
			if field.Value != "trailers" {
				return nil, false
			}
		}
		name := canonical(field.Name)
		if is := h[name]; len(is) > 0 {
			h[name] = append(is, field.Value)
			continue
		}
		values = append(values, field.Value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	if crumbs := h["Cookie"]; len(crumbs) > 1 { // RFC 9113, section 8.2.3
		h["Cookie"] = []string{strings.Join(crumbs, "; ")}
	}
	return h, true
}

// target is the URL of a request for path, or of a CONNECT to host.
func target(path, host string) (*url.URL, bool) {
	if path == "" {
		return &url.URL{Host: host}, true
	}
	u, err := url.ParseRequestURI(path)
	return u, err == nil && (path[0] == '/' || path == "*")
}

// bodyLength is what Content-Length says, -1 where it is not said and there is a body.
func bodyLength(h http.Header, ended bool) (int64, bool) {
	all := h["Content-Length"]
	switch {
	case len(all) == 0 && ended:
		return 0, true
	case len(all) == 0:
		return -1, true
	}
	for _, v := range all[1:] {
		if v != all[0] {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(textproto.TrimString(all[0]), 10, 63)
	return int64(n), err == nil && (n == 0 || !ended)
}
