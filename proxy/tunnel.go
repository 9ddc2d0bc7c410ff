package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

var errNoDial = errors.New("goproxy may not dial")

func refuseDial(context.Context, string, string) (net.Conn, error) { return nil, errNoDial }

// tunnel carries bytes between the client and authority, untouched. It owns c and returns when both directions have ended. A client
// that asked for it by CONNECT hears how it went.
func (s *Server) tunnel(r *http.Request, c *wire, authority string) {
	defer c.Close()
	start := s.now()
	q := &request{door: doorProxy, registry: authority, kind: kindTunnel, user: c.user, cache: cacheBypass}
	if r.Method != http.MethodConnect {
		q.door = doorTLS
	}
	q.reg, _ = s.table.Load().Lookup(authority)
	place, ok := s.crowd.enter(s.ctx, network(c.RemoteAddr()))
	if !ok {
		q.err, q.status = errors.New(crowdedMessage(s.crowd.most)), http.StatusServiceUnavailable
		s.endTunnel(q, r, c, codeUnavailable, start)
		return
	}
	defer s.crowd.leave(place)
	target, err := s.upstream.Dial(s.ctx, q.reg, authority)
	if err != nil {
		q.err, q.status = fmt.Errorf("tunnel to %s: %w", authority, err), http.StatusBadGateway
		s.endTunnel(q, r, c, codeUnavailable, start)
		return
	}
	defer target.Close()
	q.status = http.StatusOK
	if !s.track(c, target) {
		return
	}
	defer s.untrack(c, target)
	if q.door == doorProxy {
		if _, err := io.WriteString(c, connectEstablished); err != nil {
			return
		}
	}
	n := relay(c, target)
	s.logLine(q, r, n, s.now().Sub(start))
}

// endTunnel tells why there is none.
func (s *Server) endTunnel(q *request, r *http.Request, c net.Conn, code string, start time.Time) {
	s.logLine(q, r, 0, s.now().Sub(start))
	if q.door == doorProxy {
		writeRaw(c, q.status, code, q.err.Error())
		hangUp(c)
	}
}

// relay copies both ways until both are done, passes each end on as a half-close, and returns the bytes that went to the client.
func relay(client, target net.Conn) int64 {
	var down atomic.Int64
	done := make(chan struct{})
	go func() { // ends with the connections; relay waits for it
		defer close(done)
		copyToClient(client, target, &down)
	}()
	copyToTarget(target, client)
	<-done
	return down.Load()
}

func copyToClient(client, target net.Conn, n *atomic.Int64) {
	var to io.Writer = client
	if w, ok := client.(*wire); ok && w.patience > 0 {
		to = patient{w}
	}
	total, err := carry(to, target)
	n.Add(total)
	if err != nil { // it takes nothing, or has gone: what it may still have to say is not waited for
		client.Close()
		return
	}
	if w, ok := client.(*wire); ok && w.patience > 0 {
		w.SetWriteDeadline(time.Time{})
	}
	endDirection(client)
}

func copyToTarget(target, client net.Conn) {
	carry(target, client)
	endDirection(target)
}

// An idle direction of a tunnel, as most are most of the time, has a small buffer, and one in which much is going on a large one of
// the pool until it pauses for so long. io.Copy would hold 32 KiB for each, and made a tunnel cost half as much again.
const (
	waitingSize = 512
	rushPause   = 20 * time.Millisecond
)

// carry copies until either side ends or breaks. An error is to's.
func carry(to io.Writer, from net.Conn) (total int64, err error) {
	small := make([]byte, waitingSize)
	for {
		n, ended := from.Read(small)
		if _, err := to.Write(small[:n]); err != nil {
			return total, err
		}
		total += int64(n)
		if ended == nil && n == len(small) {
			n, ended, err = rush(to, from)
			total += int64(n)
		}
		if ended != nil || err != nil {
			return total, err
		}
	}
}

// rush copies until nothing comes for a moment. An error is to's, ended from's.
func rush(to io.Writer, from net.Conn) (total int, ended, err error) {
	buf := middlePieces.Get().(*[]byte)
	defer middlePieces.Put(buf)
	defer from.SetReadDeadline(time.Time{})
	for {
		from.SetReadDeadline(time.Now().Add(rushPause))
		n, ended := from.Read(*buf)
		if _, err := to.Write((*buf)[:n]); err != nil {
			return total, nil, err
		}
		total += n
		if errors.Is(ended, os.ErrDeadlineExceeded) {
			return total, nil, nil
		}
		if ended != nil {
			return total, ended, nil
		}
	}
}

// endDirection passes the end of one direction on. The other may go on for as long as it likes: a download whose client has said
// all it had to say. Dead peers are found by TCP keep-alive.
func endDirection(to net.Conn) {
	if c, ok := to.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	} else {
		to.Close()
	}
}

// track counts a tunnel in, so that Shutdown can end it. False means that it comes too late.
func (s *Server) track(conns ...net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	for _, c := range conns {
		s.tunnels[c] = true
	}
	return true
}

func (s *Server) untrack(conns ...net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range conns {
		delete(s.tunnels, c)
	}
}

// waitForTunnels gives tunnels until ctx ends and then cuts them.
func (s *Server) waitForTunnels(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for s.openTunnels() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.cutTunnels()
			return
		}
	}
}

func (s *Server) openTunnels() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tunnels)
}

func (s *Server) cutTunnels() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.tunnels {
		c.Close()
	}
}
