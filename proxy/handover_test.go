package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
)

// TestOtherwise: what is handed on is read from the beginning of the request, and what was put back before behind it.
func TestOtherwise(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"plain": func(c net.Conn) net.Conn { return &wire{Conn: c} },
		"replayed": func(c net.Conn) net.Conn {
			return &wire{Conn: c, replay: bytes.NewReader([]byte("ST / HTTP/1.1\r\n"))}
		},
		"TLS": func(c net.Conn) net.Conn { return &opened{Conn: tls.Server(c, &tls.Config{})} },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := net.Pipe()
			defer a.Close()
			defer b.Close()
			s := &Server{inbox: newInbox()}
			seen := make([]byte, 2, 4096) // of a buffer that goes on
			copy(seen, "PO")
			go s.otherwise(wrap(a), seen)
			c, err := s.inbox.Accept()
			if err != nil {
				t.Fatal(err)
			}
			want := "PO"
			switch name {
			case "replayed":
				want = "POST / HTTP/1.1\r\nHost: a\r\n\r\n"
				go io.WriteString(b, "Host: a\r\n\r\n")
			case "plain":
				want = "POST / HTTP/1.1\r\nHost: a\r\n\r\n"
				go io.WriteString(b, "ST / HTTP/1.1\r\nHost: a\r\n\r\n")
			}
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); string(got) != want || err != nil {
				t.Errorf("got %q and %v, want %q", got, err, want)
			}
			if framingOf(c) == nil {
				t.Error("nobody watches what comes")
			}
		})
	}
}
