package http2

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world/leaks"
	"github.com/entrepot/entrepot/testdata/world/served"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }

// door is a server on loopback, ours or net/http's.
type door struct {
	ours    *Server // nil: it is net/http's
	addr    string
	clients *tls.Config
	log     *served.Lines
}

// open makes a server of ours.
func open(t testing.TB, h http.Handler, options ...func(*Server)) *door {
	t.Helper()
	d := &door{log: &served.Lines{}}
	d.ours = &Server{
		Handler: h, HeaderTimeout: time.Minute, IdleTimeout: time.Minute, Patience: time.Minute, MaxStreams: 100, MaxHeader: 64 << 10,
		ErrorLog: log.New(d.log, "", 0),
	}
	for _, o := range options {
		o(d.ours)
	}
	var keys *tls.Config
	keys, d.clients = served.Certificate(t, "h2")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { d.serve(ctx, c, keys) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		d.ours.Close()
		work.Wait()
	})
	return d
}

func (d *door) serve(ctx context.Context, c net.Conn, keys *tls.Config) {
	inside := tls.Server(c, keys)
	if inside.HandshakeContext(ctx) != nil {
		c.Close()
		return
	}
	state := inside.ConnectionState()
	d.ours.Serve(ctx, inside, &state)
}

// openTheirs makes net/http's.
func openTheirs(t testing.TB, h http.Handler) *door {
	t.Helper()
	d := &door{log: &served.Lines{}}
	d.addr, d.clients = served.NetHTTP(t, h, d.log, true, "h2")
	return d
}

// echo answers with the path.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })
