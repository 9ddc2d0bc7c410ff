package http2

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// conn is one client's connection. One goroutine reads it; handlers write.
type conn struct {
	server   *Server
	net      net.Conn
	ctx      context.Context
	tls      *tls.ConnectionState
	remote   string
	in       *http2.Framer // of the reading goroutine alone
	out      writer
	handlers sync.WaitGroup
	parting  atomic.Int64 // when the connection ends at the latest, in nanoseconds since 1970; zero: nobody has asked it to

	mu       sync.Mutex
	streams  map[uint32]*stream // that both sides may still say something in
	ended    []ended            // the last that are not: a ring of as many as may be open
	endings  int                // so many have been put there
	highest  uint32             // the last stream that the client has begun
	named    uint32             // the last that will be answered, as a GOAWAY has said; mostStreams: none has
	running  int                // handlers, also of streams that are over
	queue    []queued           // for one of those to end
	since    time.Time          // it has been without a request, if none is running
	idle     *time.Timer
	retiring bool // no new streams

	err     error // why nothing can be written any more
	window  int64 // what the client takes, of all streams; negative after it took some back
	initial int64 // what it takes of a new one
	waiting map[*stream]bool
	room    int // what we take of the bodies of requests
	owed    int // what of it the handlers have read since the client was last told
}

// ended is a stream that is over. What still comes for one that we have cut was on its way, and is no fault.
type ended struct {
	id  uint32
	cut bool
}

// queued is a request for which there is no handler yet.
type queued struct {
	stream  *stream
	request *http.Request
}

// Sizes (RFC 9113, sections 6.5.2 and 6.9.2).
const (
	defaultWindow = 65535
	defaultFrame  = 16 << 10
	mostWindow    = 1<<31 - 1
	mostStreams   = 1<<31 - 1 // the highest number that one can have
	connWindow    = 2 << 20   // for the bodies of all requests of a connection
	bodyWindow    = 512 << 10 // for each
	tableSize     = 4 << 10   // of HPACK, each way
	readSize      = 4 << 10
)

const (
	// goodbye is how long a connection stays open after our last word: with unread bytes a socket that is closed takes back what it has
	// sent (RFC 9112, section 9.6).
	goodbye = time.Second
	// maxQueue is how many requests may wait for a handler for each that runs. A client that resets its streams and begins others sooner
	// than handlers end has more (CVE-2023-44487).
	maxQueue = 4
)

func newConn(s *Server, ctx context.Context, nc net.Conn, t *tls.ConnectionState) *conn {
	c := &conn{
		server: s, net: nc, ctx: ctx, tls: t, remote: nc.RemoteAddr().String(), since: time.Now(),
		streams: map[uint32]*stream{}, waiting: map[*stream]bool{}, window: defaultWindow, initial: defaultWindow, room: connWindow,
		named: mostStreams,
	}
	c.out.begin(nc, s.Patience)
	nc.SetReadDeadline(c.since.Add(s.HeaderTimeout)) // before anybody knows of it who could set another one
	settings := appendFrameHeader(nil, 3*6, http2.FrameSettings, 0, 0)
	for _, v := range []http2.Setting{
		{ID: http2.SettingMaxConcurrentStreams, Val: s.MaxStreams},
		{ID: http2.SettingMaxHeaderListSize, Val: s.MaxHeader},
		{ID: http2.SettingInitialWindowSize, Val: bodyWindow},
	} {
		settings = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(settings, uint16(v.ID)), v.Val)
	}
	c.out.ahead.frames = appendNumber(settings, http2.FrameWindowUpdate, 0, connWindow-defaultWindow)
	return c
}

// Base implements [serve.Conn].
func (c *conn) Base() context.Context { return c.ctx }

// Server implements [serve.Conn].
func (c *conn) Server() *http.Server { return &c.server.standIn }

// LocalAddr implements [serve.Conn].
func (c *conn) LocalAddr() net.Addr { return c.net.LocalAddr() }

// Watch implements [serve.Conn]. The connection is always read.
func (c *conn) Watch(func()) {}

// serve reads until the client or we have had enough, and ends all streams.
func (c *conn) serve() {
	err := c.greet()
	for err == nil {
		err = c.next()
	}
	c.mu.Lock()
	c.err = net.ErrClosed
	all := c.streams
	c.streams, c.queue = nil, nil
	c.mu.Unlock()
	for _, st := range all {
		st.end(net.ErrClosed)
	}
	var wrong http2.ConnectionError
	if errors.As(err, &wrong) {
		c.server.log().Wrong("http: HTTP/2 connection from %s ended: %v", c.remote, wrong)
		until := time.Now().Add(goodbye)
		c.out.hurry(until)
		c.goAway(http2.ErrCode(wrong))
		c.out.flush()
		if half, ok := c.net.(interface{ CloseWrite() error }); ok {
			half.CloseWrite() // so that it need not be waited for
		}
		c.net.SetReadDeadline(until)
		io.Copy(io.Discard, c.net)
	}
	c.net.Close()
	c.mu.Lock()
	c.stopIdle()
	c.mu.Unlock()
}

// stopIdle ends the watch over an idle connection. The caller holds mu.
func (c *conn) stopIdle() {
	if c.idle != nil {
		c.idle.Stop()
	}
}

// goAway names the last stream that will be answered, which is never a later one than before (RFC 9113, section 6.8).
func (c *conn) goAway(code http2.ErrCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendGoAway(code)
}

// sendGoAway is goAway for who holds mu.
func (c *conn) sendGoAway(code http2.ErrCode) {
	c.named = min(c.named, c.highest)
	c.out.goAway(c.named, code)
}

var errNotHTTP2 = errors.New("not the preface of HTTP/2")

// greet exchanges prefaces (RFC 9113, section 3.4).
func (c *conn) greet() error {
	if err := c.out.flush(); err != nil {
		return err
	}
	in := bufio.NewReaderSize(c.net, readSize)
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(in, preface); err != nil {
		return err
	}
	if string(preface) != http2.ClientPreface {
		return errNotHTTP2
	}
	c.in = http2.NewFramer(nil, in)
	c.in.SetReuseFrames()
	c.in.SetMaxReadFrameSize(defaultFrame)
	c.in.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
	c.in.MaxHeaderListSize = c.server.MaxHeader
	first, err := c.in.ReadFrame()
	if err != nil {
		return err
	}
	if s, ok := first.(*http2.SettingsFrame); !ok || s.IsAck() {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.mu.Lock()
	if !c.retiring {
		c.net.SetReadDeadline(time.Time{})
		c.idle = time.AfterFunc(c.server.IdleTimeout, c.closeIdle)
	}
	c.mu.Unlock()
	return c.take(first)
}

// closeIdle is called when the connection may have been idle for as long as it may be.
func (c *conn) closeIdle() {
	c.mu.Lock()
	left := c.server.IdleTimeout
	if c.running == 0 {
		left -= time.Since(c.since)
	}
	if left > 0 {
		c.idle.Reset(left)
	}
	c.mu.Unlock()
	if left <= 0 {
		c.retire()
	}
}

// retire asks for no more requests, and closes the connection when the last answer has gone.
func (c *conn) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retiring {
		return
	}
	c.retiring = true
	c.stopIdle()
	c.sendGoAway(http2.ErrCodeNo)
	if c.running == 0 {
		c.part()
	}
}

// part closes the connection when the client has been silent for a while, which has got our last word and may still be reading answers.
// The caller holds mu.
func (c *conn) part() {
	c.parting.Store(time.Now().Add(c.server.Patience).UnixNano())
	c.net.SetReadDeadline(time.Now().Add(goodbye))
}

// linger goes on with that, behind a frame of the client's.
func (c *conn) linger() {
	if at := c.parting.Load(); at != 0 {
		until, end := time.Now().Add(goodbye), time.Unix(0, at)
		if end.Before(until) {
			until = end
		}
		c.net.SetReadDeadline(until)
	}
}

// next reads one frame.
func (c *conn) next() error {
	f, err := c.in.ReadFrame()
	if err == nil {
		c.linger()
		return c.take(f)
	}
	var wrong http2.StreamError
	switch {
	case errors.As(err, &wrong):
		return c.refuse(wrong)
	case errors.Is(err, http2.ErrFrameTooLarge):
		return http2.ConnectionError(http2.ErrCodeFrameSize)
	}
	return err
}

func (c *conn) take(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		return c.headers(f)
	case *http2.DataFrame:
		return c.data(f)
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.WindowUpdateFrame:
		return c.widen(f)
	case *http2.RSTStreamFrame:
		return c.reset(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.out.later(appendFrame(nil, http2.FramePing, http2.FlagPingAck, 0, f.Data[:]...), nil)
		}
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID { // RFC 7540, section 5.3.1
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
	case *http2.PushPromiseFrame, *http2.ContinuationFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil // what nobody knows is skipped (RFC 9113, section 4.1), and after a GOAWAY the client closes
}

// settings takes what the client can take, as soon as it is told that we have (RFC 9113, section 6.5.3). Of what is set twice the last
// counts, but the smallest table: what was in a larger one is gone from it.
func (c *conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	var table *tableSizes
	window := int64(-1)
	err := f.ForeachSetting(func(s http2.Setting) error {
		switch s.ID {
		case http2.SettingHeaderTableSize:
			table = table.add(min(s.Val, tableSize))
		case http2.SettingInitialWindowSize:
			window = int64(s.Val)
		}
		return s.Valid() // larger frames than the smallest that may be asked for are not needed
	})
	if err == nil && window >= 0 {
		err = c.resize(window)
	}
	if err != nil {
		return err
	}
	return c.out.later(appendFrameHeader(nil, 0, http2.FrameSettings, http2.FlagSettingsAck, 0), table)
}

// refuse ends a stream for the client's fault.
func (c *conn) refuse(wrong http2.StreamError) error {
	if wrong.StreamID%2 == 0 { // which is none of its streams
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.mu.Lock()
	st := c.streams[wrong.StreamID]
	c.highest = max(c.highest, wrong.StreamID)
	c.over(wrong.StreamID, true)
	c.mu.Unlock()
	if st != nil {
		st.end(wrong)
	}
	return c.out.reset(wrong.StreamID, wrong.Code)
}

// over notes that a stream is, and whether it was cut by us while the client could still send. The caller holds mu.
func (c *conn) over(id uint32, cut bool) {
	delete(c.streams, id)
	if most := int(c.server.MaxStreams); len(c.ended) < most {
		c.ended = append(c.ended, ended{})
	}
	c.ended[c.endings%len(c.ended)] = ended{id, cut}
	c.endings++
}

// stray judges a frame for a stream that is not open, which is what the caller says if it was once. The caller holds mu.
func (c *conn) stray(id uint32, closed error) error {
	if id%2 == 0 || id > c.highest {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if slices.Contains(c.ended, ended{id, true}) {
		return nil
	}
	return closed
}

// reset ends a stream that the client has reset.
func (c *conn) reset(f *http2.RSTStreamFrame) error {
	c.mu.Lock()
	st := c.streams[f.StreamID]
	if st == nil {
		defer c.mu.Unlock()
		return c.stray(f.StreamID, nil)
	}
	c.over(f.StreamID, false)
	c.mu.Unlock()
	st.end(errReset)
	return nil
}
