package cache

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// note stands beside a partial and says how far it can be relied on: so many bytes from the start, without a gap, and their hash.
// What lies behind may be there, may have gaps or may never have reached the disk, and is fetched anew.
type note struct {
	Size      int64  `json:"size"` // of the whole object, -1 while unknown
	MediaType string `json:"mediaType,omitempty"`
	Frontier  int64  `json:"frontier"`
	Sum       string `json:"sum"` // of the bytes before Frontier
}

// noteEvery is how many bytes may be lost to a kill at least; with the size of what is there it becomes more, a sixteenth of it. Of a
// fast transfer so much may be lost as comes in notePause: a note takes 0.2 ms of CPU time, and without it a layer of 256 MiB had 60.
const (
	noteEvery = 1 << 20
	notePause = 250 * time.Millisecond
)

var (
	// errStale is the error of a partial that is not what its note or upstream says. The fill starts over.
	errStale   = errors.New("the partial is of no use")
	errStopped = errors.New("the store closes")
)

func readNote(name string) (note, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return note{}, err
	}
	n := note{Size: -1}
	if err := json.Unmarshal(b, &n); err != nil {
		return note{}, err
	}
	if n.Frontier < 0 || n.Size >= 0 && n.Frontier > n.Size {
		return note{}, fmt.Errorf("a frontier of %d in %d bytes", n.Frontier, n.Size)
	}
	return n, nil
}

// takeNote writes down how far the hash has come. A note that is not written costs a part of a transfer after a kill, no more.
func (f *fill) takeNote() {
	if f.noted == f.hashed {
		return
	}
	f.noted, f.notedAt = f.hashed, time.Now()
	b, err := json.Marshal(note{f.size, f.mediaType, f.hashed, hex.EncodeToString(f.sum.Sum(nil))})
	if err == nil {
		err = f.store.dir.writeFile(f.store.dir.note(f.digest), b, false)
	}
	if err != nil {
		f.store.report("note a partial of "+f.digest.String(), err)
	}
}

// open finds the object complete after all (a race with its commit), else opens the partial.
func (f *fill) open() (complete bool, err error) {
	f.store.ingest.Lock()
	defer f.store.ingest.Unlock()
	if done, err := os.Open(f.store.dir.blob(f.digest)); err == nil {
		if f.openComplete(done) {
			return true, nil
		}
	}
	f.store.index.takePartial(f.digest)
	file, err := f.store.disk.open(f.store.dir.partial(f.digest))
	if err != nil {
		return false, err
	}
	f.file, f.sum = file, f.digest.hash()
	return false, f.takeOver()
}

// openComplete serves what Lookup has not found but is there. A file of the wrong size is not: it makes way.
func (f *fill) openComplete(done *os.File) bool {
	info, err := done.Stat()
	if err == nil {
		err = f.store.checkSize(f.digest, info.Size())
	}
	if err != nil {
		done.Close()
		f.store.drop(f.digest, err)
		return false
	}
	f.store.index.pin(f.digest, info.Size())
	f.pinned = true
	f.change(func() {
		f.file, f.size, f.complete = done, info.Size(), true
		f.have.add(0, f.size)
	})
	return true
}

// takeOver begins to check what an earlier transfer left. That goes on while upstream is asked for the rest, since hashing a few
// gigabytes takes longer than a client waits for a header. Nothing of it is given out before it has been found good.
func (f *fill) takeOver() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	n, err := readNote(f.store.dir.note(f.digest))
	if err != nil || n.Frontier > info.Size() {
		n = note{}
	}
	if err := f.file.Truncate(n.Frontier); err != nil {
		return err
	}
	if n.Frontier == 0 {
		return nil
	}
	f.found = n
	f.taken.add(0, n.Frontier)
	f.checking = make(chan error, 1)
	go func() { f.checking <- f.check() }() // await waits for it
	return nil
}

// check hashes the bytes that the note speaks of.
func (f *fill) check() error {
	buf := f.store.piece()
	defer f.store.pieces.Put(buf)
	for pos := int64(0); pos < f.found.Frontier; {
		if f.ctx.Err() != nil {
			return errStopped
		}
		n, err := f.file.ReadAt(buf[:min(piece, f.found.Frontier-pos)], pos)
		if n == 0 {
			return fmt.Errorf("read a partial at byte %d: %v: %w", pos, err, errStale)
		}
		f.sum.Write(buf[:n])
		pos += int64(n)
	}
	if got := hex.EncodeToString(f.sum.Sum(nil)); got != f.found.Sum {
		return fmt.Errorf("a partial of %d bytes is damaged: %w", f.found.Frontier, errStale)
	}
	return nil
}

// await waits for the outcome of check, once. Then what was found is as good as what was fetched.
func (f *fill) await() error {
	if f.checking == nil {
		return nil
	}
	err := <-f.checking
	f.checking = nil
	if err == nil {
		f.hashed, f.noted = f.found.Frontier, f.found.Frontier
		f.came(0, f.found.Frontier)
	} else if errors.Is(err, errStale) {
		f.store.report("resume "+f.digest.String(), err)
	}
	return err
}

// finishFound takes over a partial to which nothing is missing but its name.
func (f *fill) finishFound() error {
	if f.checking == nil || f.found.Frontier != f.found.Size {
		return nil
	}
	if f.await() != nil {
		return f.startOver()
	}
	if err := f.makeRoom(f.found.Size); err != nil {
		return err
	}
	f.change(func() { f.size, f.mediaType = f.found.Size, f.found.MediaType })
	return nil
}

// startOver throws away what an earlier transfer left. No reader has had any of it: it is in have only once it was found good, and
// then upstream has agreed to its size.
func (f *fill) startOver() error {
	if f.checking != nil {
		<-f.checking
		f.checking = nil
	}
	os.Remove(f.store.dir.note(f.digest))
	f.change(func() { f.side.held = true })
	f.side.work.Wait() // a reader far ahead may have begun one while the partial was checked, which would write into what is cut off here
	f.found, f.hashed, f.noted, f.laid, f.sum = note{}, 0, 0, 0, f.digest.hash()
	err := f.file.Truncate(0)
	f.change(func() {
		f.store.index.owed.Add(f.paid)
		f.have, f.taken, f.at, f.paid, f.side.held = nil, nil, 0, 0, false
	})
	if err != nil {
		return &diskError{err}
	}
	return nil
}

// onDisk is the size of the partial, gaps and all.
func (f *fill) onDisk() int64 {
	info, err := f.file.Stat()
	if err != nil {
		return f.hashed
	}
	return info.Size()
}
