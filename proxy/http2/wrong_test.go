package http2

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// TestMalformedRequests: each is reset, with nothing of it at the handler, and the connection goes on (RFC 9113, section 8.1.1).
func TestMalformedRequests(t *testing.T) {
	d := open(t, echo)
	whole := []string{":method", "GET", ":scheme", "https", ":authority", "example.com", ":path", "/"}
	for name, fields := range map[string][]string{
		"no method":             whole[2:],
		"no scheme":             {":method", "GET", ":authority", "example.com", ":path", "/"},
		"another scheme":        {":method", "GET", ":scheme", "ftp", ":authority", "example.com", ":path", "/"},
		"no path":               whole[:6],
		"an empty path":         append(whole[:6:6], ":path", ""),
		"a path that is a URL":  append(whole[:6:6], ":path", "https://example.com/"),
		"no slash":              append(whole[:6:6], ":path", "v2/"),
		"a bad escape":          append(whole[:6:6], ":path", "/%zz"),
		"a method with a space": append([]string{":method", "GE T"}, whole[2:]...),
		"an odd authority":      {":method", "GET", ":scheme", "https", ":authority", "exam ple.com", ":path", "/"},
		"twice":                 append(whole[:8:8], ":path", "/"),
		"a status":              append(whole[:8:8], ":status", "200"),
		"behind a field":        append([]string{"a", "b"}, whole...),
		"capitals":              append(whole[:8:8], "Accept", "x"),
		"a line feed":           append(whole[:8:8], "a", "b\nc"),
		"connection":            append(whole[:8:8], "connection", "x"),
		"keep-alive":            append(whole[:8:8], "keep-alive", "5"),
		"upgrade":               append(whole[:8:8], "upgrade", "h2c"),
		"transfer-encoding":     append(whole[:8:8], "transfer-encoding", "chunked"),
		"te":                    append(whole[:8:8], "te", "gzip"),
		"another host":          append(whole[:8:8], "host", "example.org"),
		"two hosts":             append(whole[:8:8], "host", "example.com", "host", "example.org"),
		"a length":              append(whole[:8:8], "content-length", "x"),
		"two lengths":           append(whole[:8:8], "content-length", "0", "content-length", "1"),
		"a length, no body":     append(whole[:8:8], "content-length", "1"),
		"CONNECT with a path":   {":method", "CONNECT", ":scheme", "https", ":authority", "example.com:443", ":path", "/"},
		"CONNECT to nowhere":    {":method", "CONNECT"},
	} {
		t.Run(name, func(t *testing.T) {
			p := d.dial(t).listen()
			p.headers(1, true, fields...)
			p.want(1, "reset PROTOCOL_ERROR", "")
			p.get(3, "/next")
			p.want(3, "200", "/next")
		})
	}
}

// TestWrongBodies: likewise.
func TestWrongBodies(t *testing.T) {
	d := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Write(body)
	}))
	for name, c := range map[string]struct {
		send func(p *peer)
		want string
	}{
		"more than announced": {func(p *peer) {
			p.post(1, "/", "content-length", "3")
			p.WriteData(1, true, []byte("four"))
		}, "reset PROTOCOL_ERROR"},
		"less than announced": {func(p *peer) {
			p.post(1, "/", "content-length", "5")
			p.WriteData(1, true, []byte("four"))
		}, "reset INTERNAL_ERROR"}, // as the handler makes of it
		"trailers with a path": {func(p *peer) {
			p.post(1, "/")
			p.headers(1, true, ":path", "/")
		}, "reset PROTOCOL_ERROR"},
		"trailers and no end": {func(p *peer) {
			p.post(1, "/")
			p.headers(1, false, "a", "b")
		}, "reset PROTOCOL_ERROR"},
		"a window without end": {func(p *peer) {
			p.post(1, "/")
			p.WriteWindowUpdate(1, 1<<31-1)
		}, "reset FLOW_CONTROL_ERROR"},
		"a window of nothing": {func(p *peer) {
			p.post(1, "/")
			p.WriteWindowUpdate(1, 0)
		}, "reset PROTOCOL_ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			p := d.dial(t).listen()
			c.send(p)
			p.want(1, c.want, "")
			p.post(3, "/")
			p.must(p.WriteData(3, false, []byte("he")))
			p.must(p.WriteDataPadded(3, false, []byte("llo"), make([]byte, 200)))
			p.headers(3, true, "a", "trailer")
			p.want(3, "200", "hello")
		})
	}
}

// TestWrongConnections: what leaves no sense in the connection ends it, and tells why (RFC 9113, section 5.4.1).
func TestWrongConnections(t *testing.T) {
	d := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	for name, c := range map[string]struct {
		send func(p *peer)
		want http2.ErrCode
	}{
		"an even stream":         {send: func(p *peer) { p.get(2, "/") }, want: http2.ErrCodeProtocol},
		"stream zero":            {send: func(p *peer) { p.get(0, "/") }, want: http2.ErrCodeProtocol},
		"backwards":              {send: func(p *peer) { p.post(5, "/"); p.get(3, "/") }, want: http2.ErrCodeProtocol},
		"data of no stream":      {send: func(p *peer) { p.WriteData(1, false, []byte("x")) }, want: http2.ErrCodeProtocol},
		"a window of no stream":  {send: func(p *peer) { p.WriteWindowUpdate(1, 1) }, want: http2.ErrCodeProtocol},
		"a reset of no stream":   {send: func(p *peer) { p.WriteRSTStream(1, 0) }, want: http2.ErrCodeProtocol},
		"a push":                 {send: func(p *peer) { p.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true}) }, want: http2.ErrCodeProtocol},
		"a window without end":   {send: func(p *peer) { p.WriteWindowUpdate(0, 1<<31-1) }, want: http2.ErrCodeFlowControl},
		"a window of nothing":    {send: func(p *peer) { p.WriteWindowUpdate(0, 0) }, want: http2.ErrCodeProtocol},
		"an initial one too big": {send: func(p *peer) { p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}) }, want: http2.ErrCodeFlowControl},
		"all too big by it": {send: func(p *peer) {
			p.post(1, "/")
			p.WriteWindowUpdate(1, 1<<31-1-65535)
			p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65536})
		}, want: http2.ErrCodeFlowControl},
		"a small frame size": {send: func(p *peer) { p.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1}) }, want: http2.ErrCodeProtocol},
		"a large frame":      {send: func(p *peer) { p.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 16<<10+1)) }, want: http2.ErrCodeFrameSize},
		"another in a block": {send: func(p *peer) {
			p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
			p.WritePing(false, [8]byte{})
		}, want: http2.ErrCodeProtocol},
		"a block nobody can read": {send: func(p *peer) {
			p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		}, want: http2.ErrCodeCompression},
		"a field without end": {send: func(p *peer) {
			p.headers(1, true, ":method", "GET", "a", strings.Repeat("x", 1<<20))
		}, want: http2.ErrCodeCompression},
		"a block without end": {send: func(p *peer) { // CVE-2023-45288
			p.headers(1, true, append([]string{":method", "GET"}, strings.Fields(strings.Repeat("a b ", 1<<16))...)...)
		}, want: http2.ErrCodeProtocol},
		"no setting of pushes": {send: func(p *peer) {
			p.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 2})
		}, want: http2.ErrCodeProtocol},
		"on itself":            {send: func(p *peer) { p.WritePriority(1, http2.PriorityParam{StreamDep: 1}) }, want: http2.ErrCodeProtocol},
		"nothing more of none": {send: func(p *peer) { p.WriteWindowUpdate(8, 0) }, want: http2.ErrCodeProtocol},
		"more than all windows": {send: func(p *peer) {
			for id := uint32(1); id < 100; id += 2 {
				p.post(id, "/unread")
				for range 4 {
					p.WriteData(id, false, make([]byte, 16<<10))
				}
			}
		}, want: http2.ErrCodeFlowControl},
	} {
		t.Run(name, func(t *testing.T) {
			at := d
			if name == "more than all windows" {
				waits := make(chan bool)
				at = open(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-waits }))
				t.Cleanup(func() { close(waits) })
			}
			p := at.dial(t).listen()
			p.t = noWrites{t}
			c.send(p)
			p.t = t
			p.ended(c.want)
		})
	}
}

// TestStreamAgain: a stream that is over is not used again. Whether the server has ended it yet decides whom it costs.
func TestStreamAgain(t *testing.T) {
	p := open(t, echo).dial(t).listen()
	p.get(1, "/a")
	p.want(1, "200", "/a")
	p.get(1, "/a")
	if status, _ := p.answer(1); status != "goaway STREAM_CLOSED" && status != "reset STREAM_CLOSED" {
		t.Errorf("got %s", status)
	}
}

// noWrites takes it that the server closes while the client still writes.
type noWrites struct{ testing.TB }

func (noWrites) Fatal(...any) {}

// TestNotHTTP2: what does not begin as HTTP/2 does is not answered, nor is what goes on otherwise.
func TestNotHTTP2(t *testing.T) {
	d := open(t, echo)
	for _, begin := range []string{"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", strings.Repeat("x", 24), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"} {
		p := d.raw(t)
		io.WriteString(p.Conn, begin)
		p.Conn.(interface{ CloseWrite() error }).CloseWrite()
		p.listen().closed()
	}
	p := d.raw(t)
	io.WriteString(p.Conn, http2.ClientPreface)
	p.must(p.WritePing(false, [8]byte{}))
	p.listen().ended(http2.ErrCodeProtocol)
}

// TestLateFrames: what a client sends for a stream that the server has cut was on its way, and costs nobody anything.
func TestLateFrames(t *testing.T) {
	d := open(t, echo) // which reads no body
	p := d.dial(t).listen()
	p.post(1, "/a")
	p.want(1, "200", "/a")
	if f := p.next(http2.FrameRSTStream); f.id != 1 || http2.ErrCode(f.number) != http2.ErrCodeNo {
		t.Errorf("got a reset of %d by %v", f.id, http2.ErrCode(f.number))
	}
	for range 100 {
		p.must(p.WriteData(1, false, make([]byte, 16<<10))) // more than all windows, which it is given back
		p.alive()
	}
	p.headers(1, true, "a", "trailer")
	p.must(p.WriteRSTStream(1, http2.ErrCodeCancel))
	p.must(p.WriteWindowUpdate(1, 5))
	p.alive()
	p.get(3, "/b")
	p.want(3, "200", "/b")
}

// TestHeaderTooLarge: who sends too much is told in words, as long as it can be read.
func TestHeaderTooLarge(t *testing.T) {
	d := open(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler got it") }))
	p := d.dial(t).listen()
	p.get(1, "/", "a", strings.Repeat("x", 40<<10), "b", strings.Repeat("y", 40<<10))
	if status, body := p.answer(1); status != "431" || !strings.Contains(body, "more than 65536 bytes") {
		t.Errorf("got %s %q", status, body)
	}
	p.alive()
}
