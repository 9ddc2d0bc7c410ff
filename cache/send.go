package cache

import (
	"io"
	"os"
)

// SendTo lets w copy up to most bytes from where the reader stands, each time all that may be given out: by ReadFrom of a part of a file,
// which a connection leaves to the kernel (sendfile). It waits as Read does. Less than most and no error says that the rest has to be
// read: where the file does not lend itself to this, or w did not take all of a part.
func (r *growing) SendTo(w io.ReaderFrom, most int64) (sent int64, err error) {
	for sent < most && r.last == nil {
		end, err := r.fill.wait(r)
		if err != nil || !r.openOwn() {
			return sent, nil // Read tells why
		}
		part := &io.LimitedReader{R: r.own, N: min(end-r.pos, most-sent)}
		n, err := w.ReadFrom(part)
		r.pos += n
		sent += n
		if err != nil || part.N > 0 {
			return sent, err
		}
	}
	return sent, nil
}

// openOwn makes sure that there is a file at r.pos whose position is this reader's alone. There is none once the fill's file has
// its final name, nor where it is not the system's.
func (r *growing) openOwn() bool {
	if r.own == nil {
		r.own = again(r.fill.file)
	}
	if r.own == nil {
		return false
	}
	_, err := r.own.Seek(r.pos, io.SeekStart)
	return err == nil
}

// again opens a file once more, nil if it is not under its name any more.
func again(f file) *os.File {
	old, ok := f.(*os.File)
	if !ok {
		return nil
	}
	second, err := os.Open(old.Name())
	if err != nil {
		return nil
	}
	one, err := old.Stat()
	other, otherErr := second.Stat()
	if err != nil || otherErr != nil || !os.SameFile(one, other) {
		second.Close()
		return nil
	}
	return second
}
