package http2

import (
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/entrepot/entrepot/testdata/world/served"
)

// FuzzFrames: whatever a client sends behind its preface, the server neither panics nor goes on with it for ever, and what it sends is
// HTTP/2.
func FuzzFrames(f *testing.F) {
	add := func(build func(fr *http2.Framer)) {
		var b collected
		build(http2.NewFramer(&b, nil))
		f.Add([]byte(b))
	}
	request := []byte{0x82, 0x87, 0x84, 0x41, 0x01, 'a'}
	add(func(fr *http2.Framer) {
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: request, EndHeaders: true, EndStream: true})
	})
	add(func(fr *http2.Framer) {
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: request, EndHeaders: true})
		fr.WriteDataPadded(1, false, []byte("hello"), make([]byte, 3))
		fr.WriteRSTStream(1, 8)
		fr.WritePing(false, [8]byte{})
		fr.WriteWindowUpdate(0, 1)
		fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
	})
	add(func(fr *http2.Framer) {
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: request[:3]})
		fr.WriteContinuation(3, true, request[3:])
		fr.WriteData(3, false, nil)
		fr.WritePriority(3, http2.PriorityParam{StreamDep: 1})
		fr.WriteGoAway(3, 0, nil)
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: []byte{0x40, 1, 'a', 1, 'b'}, EndHeaders: true, EndStream: true})
	})
	f.Fuzz(func(t *testing.T, input []byte) {
		s := &Server{
			HeaderTimeout: time.Minute, IdleTimeout: time.Minute, Patience: time.Minute, MaxStreams: 3, MaxHeader: 4 << 10,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body); w.Write(make([]byte, 70000)) }),
		}
		server, c := net.Pipe()
		c.SetDeadline(time.Now().Add(served.Patience))
		var work sync.WaitGroup
		work.Go(func() { s.Serve(t.Context(), server, nil) })
		work.Go(func() {
			for fr := http2.NewFramer(nil, c); ; {
				fr.SetMaxReadFrameSize(16 << 10)
				if _, err := fr.ReadFrame(); err != nil {
					if _, wrong := err.(http2.ConnectionError); wrong || err == http2.ErrFrameTooLarge {
						t.Errorf("the server sends what is no HTTP/2: %v", err)
					}
					io.Copy(io.Discard, c)
					return
				}
			}
		})
		io.WriteString(c, http2.ClientPreface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		c.Write(input)
		c.Close()
		work.Wait()
	})
}

// collected collects what is written.
type collected []byte

func (w *collected) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}
