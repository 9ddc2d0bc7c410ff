package http2

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
)

// writes is a handler whose answer has that many bytes, by one write.
func writes(size int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, size)) }
}

// taken is how much data of the stream comes before the answer to a ping.
func (p *peer) taken(id uint32) (n int) {
	p.t.Helper()
	p.must(p.WritePing(false, [8]byte{}))
	for {
		f := p.next(http2.FrameData, http2.FramePing, http2.FrameRSTStream)
		switch {
		case f.kind == http2.FramePing:
			return n
		case f.id == id:
			n += len(f.data)
		}
	}
}

// takes waits for n bytes of the stream, and fails if there are more.
func (p *peer) takes(id uint32, n int) {
	p.t.Helper()
	got := 0
	for got < n {
		if f := p.next(http2.FrameData, http2.FrameRSTStream); f.id == id {
			got += len(f.data)
		}
	}
	if got += p.taken(id); got != n {
		p.t.Errorf("stream %d: got %d bytes, want %d", id, got, n)
	}
}

// TestWindows: no byte more than the client takes, of a stream and of all together, whatever it changes meanwhile (RFC 9113, section 6.9).
func TestWindows(t *testing.T) {
	d := open(t, writes(1<<20))
	window := func(n uint32) http2.Setting { return http2.Setting{ID: http2.SettingInitialWindowSize, Val: n} }
	p := d.dial(t, window(0)).listen()
	p.get(1, "/")
	if f := p.next(http2.FrameHeaders, http2.FrameData); f.kind != http2.FrameData && p.taken(1) != 0 {
		t.Error("data without a window")
	}
	p.widen(1, 1)
	p.takes(1, 1)
	p.widen(1, 40000)
	p.takes(1, 40000)
	p.must(p.WriteSettings(window(10000))) // of all streams by so much
	p.takes(1, 10000)
	p.must(p.WriteSettings(window(5000))) // it owes 5000 now
	p.widen(1, 5000)
	p.takes(1, 0)
	p.widen(1, 3)
	p.takes(1, 3)
	const left = 65535 - 1 - 40000 - 10000 - 3 // of the connection's
	p.widen(1, 1<<20)
	p.takes(1, left)
	p.get(3, "/")
	p.takes(3, 0)
	p.widen(0, 100)
	if got := p.taken(1) + p.taken(3); got > 100 {
		t.Errorf("got %d bytes of both, want 100", got)
	}
	p.must(p.WriteRSTStream(1, http2.ErrCodeCancel))
	p.widen(0, 1<<22)
	p.widen(3, 1<<22)
	for got := 0; ; {
		f := p.next(http2.FrameData)
		if got += len(f.data); f.id == 3 && f.flags.Has(http2.FlagDataEndStream) {
			return
		}
	}
}

// TestManyStreams: streams that wait for one window all get on.
func TestManyStreams(t *testing.T) {
	const streams, size = 40, 100 << 10
	p := open(t, writes(size)).dial(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}).listen()
	for i := range uint32(streams) {
		p.get(2*i+1, "/")
	}
	got := map[uint32]int{}
	for ended := 0; ended < streams; {
		f := p.next(http2.FrameData, http2.FrameRSTStream, http2.FrameGoAway)
		if f.kind != http2.FrameData {
			t.Fatalf("got %v of %d", f.kind, f.id)
		}
		got[f.id] += len(f.data)
		if p.widen(0, len(f.data)+1); f.flags.Has(http2.FlagDataEndStream) {
			ended++
		}
	}
	for id, n := range got {
		if n != size {
			t.Errorf("stream %d: %d bytes", id, n)
		}
	}
}

// TestTooManyStreams: one more than may be at once is refused, so that the client knows it may ask again (RFC 9113, section 8.7).
func TestTooManyStreams(t *testing.T) {
	goOn := make(chan bool)
	d := open(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { <-goOn }), func(s *Server) { s.MaxStreams = 3 })
	p := d.dial(t).listen()
	for id := uint32(1); id <= 7; id += 2 {
		p.get(id, "/")
	}
	p.want(7, "reset REFUSED_STREAM", "")
	close(goOn)
	for id := uint32(1); id <= 5; id += 2 {
		p.next(http2.FrameHeaders)
	}
	p.get(9, "/")
	p.want(9, "200", "")
}

// TestUploads: bodies of any size and padding come whole, however many at once, and one that nobody reads holds up no other.
func TestUploads(t *testing.T) {
	stop := make(chan bool)
	d := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stuck" {
			<-stop
			return
		}
		n, err := io.Copy(io.Discard, r.Body)
		if n != 4<<20 || err != nil {
			t.Errorf("got %d bytes and %v", n, err)
		}
		io.WriteString(w, "whole")
	}))
	t.Cleanup(func() { close(stop) })
	p := d.dial(t).listen()
	p.post(1, "/stuck")
	p.must(p.WriteData(1, false, make([]byte, 16<<10)))
	for id := uint32(3); id < 9; id += 2 {
		p.post(id, "/")
	}
	room := map[uint32]int{0: 65535 - 16<<10, 3: bodyWindow, 5: bodyWindow, 7: bodyWindow}
	sent, answers := map[uint32]int{}, ""
	const piece, pad = 8 << 10, 100
	for id := uint32(3); len(sent) < 3 || sent[3] < 4<<20 || sent[5] < 4<<20 || sent[7] < 4<<20; id = 3 + (id-1)%6 {
		for room[0] < piece+pad+1 || room[id] < piece+pad+1 {
			switch f := p.next(http2.FrameWindowUpdate, http2.FrameData, http2.FrameRSTStream, http2.FrameGoAway); f.kind {
			case http2.FrameWindowUpdate:
				room[f.id] += int(f.number)
			case http2.FrameData: // of one that was sent to its end
				answers += f.data
			default:
				t.Fatalf("got %v of %d: %v", f.kind, f.id, http2.ErrCode(f.number))
			}
		}
		room[0] -= piece + pad + 1
		room[id] -= piece + pad + 1
		sent[id] += piece
		p.must(p.WriteDataPadded(id, sent[id] == 4<<20, make([]byte, piece), make([]byte, pad)))
	}
	for len(answers) < 3*len("whole") {
		answers += p.next(http2.FrameData).data
	}
	if answers != "wholewholewhole" {
		t.Errorf("got %q", answers)
	}
}

// TestWriterFirst: a client that writes all it wants to before it reads anything gets on, however much waits for it.
func TestWriterFirst(t *testing.T) {
	var got sync.WaitGroup
	got.Add(1)
	d := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			for range 64 {
				w.Write(make([]byte, 1<<20))
			}
			return
		}
		n, err := io.Copy(io.Discard, r.Body)
		if n != 512<<10 || err != nil {
			t.Errorf("got %d bytes and %v", n, err)
		}
		got.Done()
	}))
	p := d.dial(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	p.widen(0, 1<<30)
	p.get(1, "/") // which fills what is between us, and then waits
	p.post(3, "/")
	for range 32 {
		p.must(p.WritePing(false, [8]byte{}))
		p.must(p.WriteData(3, false, make([]byte, 16<<10)))
	}
	p.must(p.WriteData(3, true, nil))
	got.Wait()
	p.must(p.WriteRSTStream(1, http2.ErrCodeCancel))
	p.listen().want(3, "200", "")
}

// TestTableSize: header blocks keep to the table that the client has room for (RFC 7541, section 4.2).
func TestTableSize(t *testing.T) {
	d := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("A", strings.Repeat("a", 500))
		w.Header().Set("B", r.URL.Path)
	}))
	p := d.dial(t, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}).listen()
	p.ReadMetaHeaders.SetAllowedMaxDynamicTableSize(0)
	id := uint32(1)
	for range 3 {
		p.get(id, "/none")
		p.want(id, "200", "")
		id += 2
	}
	for _, size := range []uint32{100, 1000, 1 << 20, 0, 4096, 5} {
		p.must(p.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: size}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: size / 2}))
		p.ReadMetaHeaders.SetAllowedMaxDynamicTableSize(max(size, 4096))
		for range 3 {
			p.get(id, "/b")
			f := p.next(http2.FrameHeaders, http2.FrameGoAway)
			if value(f.fields, "b") != "/b" || len(value(f.fields, "a")) != 500 {
				t.Fatalf("%d: got %v", size, f)
			}
			id += 2
		}
	}
}

// TestLargeAnswerHeader: it goes in several frames, with no other between them.
func TestLargeAnswerHeader(t *testing.T) {
	d := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range strings.SplitSeq("a b c d e f", " ") {
			w.Header().Set(name, strings.Repeat(name+"~", 20<<10))
		}
		io.WriteString(w, r.URL.Path)
	}))
	p := d.dial(t).listen()
	p.MaxHeaderListSize = 1 << 20
	p.ReadMetaHeaders.SetMaxStringLength(1 << 20)
	for id := uint32(1); id < 20; id += 2 {
		p.get(id, "/x")
	}
	for range 10 {
		f := p.next(http2.FrameHeaders)
		if got := value(f.fields, "f"); got != strings.Repeat("f~", 20<<10) {
			t.Errorf("got %d bytes", len(got))
		}
	}
}
