package http2

import (
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/entrepot/entrepot/testdata/world/served"
)

// What streams of one connection have in common, and must not take from each other.

// until waits for what other goroutines are about to make true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for late := time.Now().Add(served.Patience); !is(); runtime.Gosched() {
		if time.Now().After(late) {
			t.Fatalf("%s: it does not come to that", what)
		}
	}
}

// TestResetBehindGrant: what a stream was granted and has not sent when it is reset is there for the others.
func TestResetBehindGrant(t *testing.T) {
	begun, ends := make(chan *stream, 1), make(chan error, 1)
	d := open(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		begun <- w.(*Response).stream
		_, err := w.Write(make([]byte, 30000))
		ends <- err
	}))
	p := d.dial(t).listen()
	p.get(1, "/")
	c := served.Hear(t, "the handler", begun).conn
	if err := served.Hear(t, "the end of a write", ends); err != nil {
		t.Fatal(err)
	}
	state := func() (window int64, streams int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.window, len(c.streams)
	}
	until(t, "the end of an answer", func() bool { _, streams := state(); return streams == 0 }) // it takes the turn once more
	for id := uint32(3); id < 20; id += 2 {
		c.out.turn.Lock() // somebody writes for long
		p.get(id, "/")
		st := served.Hear(t, "the handler", begun)
		until(t, "a grant", func() bool { window, _ := state(); return window == 65535-2*30000 })
		p.must(p.WriteRSTStream(id, http2.ErrCodeCancel))
		until(t, "a reset", func() bool { return st.failure() != nil })
		c.out.turn.Unlock()
		if err := served.Hear(t, "the end of a write", ends); !errors.Is(err, errReset) {
			t.Errorf("got %v", err)
		}
		if window, _ := state(); window != 65535-30000 {
			t.Fatalf("the window is %d", window)
		}
	}
}

// TestUnreadBodies: bodies that nobody reads hold up no other, as long as all of them have room.
func TestUnreadBodies(t *testing.T) {
	end := make(chan bool)
	d := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stuck" {
			<-end
			return
		}
		n, err := io.Copy(io.Discard, r.Body)
		if n != 4<<20 || err != nil {
			t.Errorf("got %d bytes and %v", n, err)
		}
	}))
	t.Cleanup(func() { close(end) })
	p := d.dial(t).listen()
	room := map[uint32]int{0: 65535, 7: bodyWindow}
	send := func(id uint32, n int, last bool) {
		for room[0] < n || room[id] < n {
			f := p.next(http2.FrameWindowUpdate, http2.FrameRSTStream, http2.FrameGoAway)
			if f.kind != http2.FrameWindowUpdate {
				t.Fatalf("got %v: %v", f.kind, http2.ErrCode(f.number))
			}
			room[f.id] += int(f.number)
		}
		room[0] -= n
		room[id] -= n
		p.must(p.WriteData(id, last, make([]byte, n)))
	}
	for id := uint32(1); id < 7; id += 2 {
		p.post(id, "/stuck")
		room[id] = bodyWindow
		for range bodyWindow / (16 << 10) {
			send(id, 16<<10, false)
		}
	}
	p.post(7, "/")
	for n := 4 << 20; n > 0; n -= 16 << 10 {
		send(7, 16<<10, n == 16<<10)
	}
	p.want(7, "200", "")
}

// TestReadBodies: what was read of a body takes no room any more, though the request goes on.
func TestReadBodies(t *testing.T) {
	d := open(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b := r.Body.(*body)
		room := func() (int, int) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.buf.Len(), b.buf.Cap()
		}
		until(t, "the body", func() bool { n, _ := room(); return n == 400<<10 })
		io.ReadFull(r.Body, make([]byte, 400<<10))
		if n, most := room(); n > 0 || most > fewBytes {
			t.Errorf("%d bytes in room for %d", n, most)
		}
	}))
	p := d.dial(t).listen()
	p.post(1, "/")
	for range 25 {
		p.must(p.WriteData(1, false, make([]byte, 16<<10)))
	}
	p.want(1, "200", "")
}

// TestTableSizeInTime: a header block keeps to the table's size that was acknowledged before it, and to no other, whatever else is written.
func TestTableSizeInTime(t *testing.T) {
	d := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("A", strings.Repeat("a", 50))
		w.Header().Set("B", r.URL.Path)
	}))
	p := d.dial(t)
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	id, open, size := uint32(1), 0, uint32(4096)
	sizes := []uint32{4096} // of settings that are not acknowledged yet: those of the preface
	for range 2000 {
		for ; open < 8; open++ {
			p.get(id, "/b")
			id += 2
		}
		size = 4096 - size
		sizes = append(sizes, size)
		p.must(p.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: size}))
		for acked := false; !acked || open == 8; {
			f, err := p.ReadFrame()
			if err != nil {
				t.Fatalf("after %d requests: %v", id/2, err)
			}
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				open--
			case *http2.SettingsFrame:
				if f.IsAck() && !acked {
					acked = len(sizes) == 1
					p.ReadMetaHeaders.SetAllowedMaxDynamicTableSize(sizes[0])
					sizes = sizes[1:]
				}
			}
		}
	}
}

// TestLateTrailers: of as many streams as may be at once the server knows that it has cut them.
func TestLateTrailers(t *testing.T) {
	d := open(t, echo) // which reads no body
	p := d.dial(t).listen()
	for id := uint32(1); id < 180; id += 2 {
		p.post(id, "/a")
		p.want(id, "200", "/a")
	}
	for id := uint32(1); id < 180; id += 2 {
		p.headers(id, true, "a", "trailer")
	}
	p.get(181, "/b")
	p.want(181, "200", "/b")
}

// TestLastNamed: a GOAWAY names no later stream than the one before (RFC 9113, section 6.8).
func TestLastNamed(t *testing.T) {
	d := open(t, echo)
	p := d.dial(t).listen()
	p.alive()
	d.ours.conns.Each((*conn).retire)
	if f := p.next(http2.FrameGoAway); f.last != 0 {
		t.Errorf("got %d", f.last)
	}
	p.get(1, "/")
	if f := p.next(http2.FrameRSTStream); f.id != 1 || http2.ErrCode(f.number) != http2.ErrCodeRefusedStream {
		t.Errorf("got %v of %d", http2.ErrCode(f.number), f.id)
	}
	p.must(p.WriteData(0, false, nil))
	if f := p.next(http2.FrameGoAway); f.last != 0 {
		t.Errorf("then got %d", f.last)
	}
}
