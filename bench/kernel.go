package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// The kernel is what a layer by plain HTTP costs at the least: one thread for each processor that waits by epoll and calls sendfile, over
// files that were fetched once. It parses no more of a request than the path and the range, judges nothing and logs nothing, and no
// scheduler is between its threads and the kernel's. What another server by sendfile costs above it is its own; below it there is none.

// kernelCommand makes this program the kernel.
const kernelCommand = "kernel"

func startKernel(b *bed, s *server) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	addr := freeAddr()
	if err := s.spawn(self, nil, kernelCommand, addr, s.dir, b.trust.rootFile, b.origin.addr); err != nil {
		return err
	}
	s.ways = map[string]way{wayPlain: {addr: addr, base: "http://" + addr + "/v2/"}}
	return s.until()
}

// kernel holds files by the path they were asked for by.
type kernel struct {
	dir    string
	origin *http.Client
	mu     sync.Mutex
	held   map[string]*os.File
}

// runKernel serves until it is killed. The words are startKernel's.
func runKernel(words []string) error {
	if len(words) != 4 {
		return fmt.Errorf("%s: got %d words, want 4", kernelCommand, len(words))
	}
	origin, err := originClient(words[2], words[3])
	if err != nil {
		return err
	}
	k := &kernel{dir: words[1], origin: origin, held: map[string]*os.File{}}
	l, err := net.Listen("tcp", words[0])
	if err != nil {
		return err
	}
	var polls []int
	for range runtime.NumCPU() {
		poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return err
		}
		polls = append(polls, poll)
		go k.serve(poll) // ends with the process
	}
	for n := 0; ; n++ {
		fd, err := acceptRaw(l)
		if err != nil {
			return err
		}
		event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET, Fd: int32(fd)}
		if err := unix.EpollCtl(polls[n%len(polls)], unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			return err
		}
	}
}

// acceptRaw is the next connection, without Go's runtime behind it.
func acceptRaw(l net.Listener) (int, error) {
	c, err := l.Accept()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	file, err := c.(*net.TCPConn).File()
	if err != nil {
		return 0, err
	}
	defer file.Close()
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		return 0, err
	}
	return fd, unix.SetNonblock(fd, true)
}

// kernelConn is a connection and what is left of its answer.
type kernelConn struct {
	fd       int
	unread   []byte // the beginning of a request
	file     *os.File
	at, left int64
}

// serve serves the connections of one epoll.
func (k *kernel) serve(poll int) {
	runtime.LockOSThread()
	conns := map[int32]*kernelConn{}
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(poll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			panic(err)
		}
		for _, e := range events[:max(n, 0)] {
			c := conns[e.Fd]
			if c == nil {
				c = &kernelConn{fd: int(e.Fd)}
				conns[e.Fd] = c
			}
			if err := k.proceed(c); !errors.Is(err, unix.EAGAIN) {
				delete(conns, e.Fd)
				unix.Close(c.fd)
			}
		}
	}
}

// proceed answers until the connection takes or has no more, which is EAGAIN, or is at its end.
func (k *kernel) proceed(c *kernelConn) error {
	buf := make([]byte, 4096)
	for {
		for c.left > 0 {
			n, err := unix.Sendfile(c.fd, int(c.file.Fd()), &c.at, int(c.left))
			if err != nil {
				return err
			}
			c.left -= int64(n)
		}
		n, err := unix.Read(c.fd, buf)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.EOF
		}
		c.unread = append(c.unread, buf[:n]...)
		if !bytes.HasSuffix(c.unread, []byte("\r\n\r\n")) {
			continue
		}
		if err := k.begin(c); err != nil {
			return err
		}
	}
}

// begin writes the header of the answer to what was read.
func (k *kernel) begin(c *kernelConn) error {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(c.unread)))
	if err != nil {
		return err
	}
	c.unread = c.unread[:0]
	if c.file, err = k.file(r.URL.Path); err != nil {
		return err
	}
	info, err := c.file.Stat()
	if err != nil {
		return err
	}
	c.at, c.left = 0, info.Size()
	status := "200 OK"
	if span := r.Header.Get("Range"); span != "" {
		last := int64(0)
		if _, err := fmt.Sscanf(span, "bytes=%d-%d", &c.at, &last); err != nil {
			return err
		}
		c.left = last + 1 - c.at
		status = fmt.Sprintf("206 Partial Content\r\nContent-Range: bytes %d-%d/%d", c.at, last, info.Size())
	}
	_, err = unix.Write(c.fd, fmt.Appendf(nil, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n", status, c.left))
	return err
}

// file is what path names, from the origin if nobody has asked for it before.
func (k *kernel) file(path string) (*os.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if file := k.held[path]; file != nil {
		return file, nil
	}
	resp, err := k.origin.Get("https://" + hostName + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	file, err := os.Create(filepath.Join(k.dir, fmt.Sprint(len(k.held))))
	if err != nil {
		return nil, err
	}
	// In pieces, as a cache writes them: how large the page cache's folios are decides what sendfile costs.
	w := bufio.NewWriterSize(file, 256<<10)
	if _, err := io.Copy(struct{ io.Writer }{w}, resp.Body); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	k.held[path] = file
	return file, w.Flush()
}
