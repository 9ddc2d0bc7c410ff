package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
)

// How long, and how much of, what a broken transfer left behind is kept for its resume.
const (
	partialAge   = 24 * time.Hour
	partialShare = 10 // percent of the limit
)

// lowWater is where eviction stops, in percent of the limit: a little under it, so that not every new object pays for a removal.
const lowWater = 98

// admit promises size bytes to a transfer and makes room for them, within the limit and above the floor of free space. Where that
// cannot be, nothing is evicted for it.
func (s *Store) admit(size int64) error {
	free, err := s.disk.free(s.dir.dir)
	if err != nil {
		free = math.MaxInt64 // the write will tell
	}
	if err := s.index.reserve(size, free, s.minFree); err != nil {
		return err
	}
	s.sweep()
	for range 2 {
		short := s.shortage()
		if short <= 0 {
			return nil
		}
		s.free(short)
	}
	if short := s.shortage(); short > 0 { // something else fills the volume meanwhile, or something cannot be deleted
		s.index.release(size, size)
		return fmt.Errorf("%w for %s: the volume has %s less than that%s",
			errNoRoom, inUnits(size), inUnits(short), clause(" and its floor of %s (--min-free)", s.minFree))
	}
	return nil
}

// errNoRoom is of content that is not kept, though the disk is in order.
var errNoRoom = errors.New("no room")

// tight keeps a store without room from saying so at each request; [Counts] have them all.
type tight struct {
	mu   sync.Mutex
	last time.Time
}

const tightEvery = time.Minute

// due tells whether it is time to say it again, which is noted.
func (t *tight) due(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.last) < tightEvery {
		return false
	}
	t.last = now
	return true
}

// inUnits is a number of bytes for people.
func inUnits(n int64) string { return humanize.IBytes(uint64(max(0, n))) }

// clause is the part of a sentence that says n. There is none of nothing.
func clause(format string, n int64) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(format, inUnits(n))
}

// shortage is by how much the volume's free space is below the floor, once all that was promised is written.
func (s *Store) shortage() int64 {
	free, err := s.disk.free(s.dir.dir)
	if err != nil {
		return 0 // the write will tell
	}
	return s.minFree + s.index.owed.Load() - free
}

// floorEvery is how often the free space is looked at, one system call.
const floorEvery = 10 * time.Second

// keepFloor gives up what is held when something else fills the volume below its floor, until Close.
func (s *Store) keepFloor() {
	tick := time.NewTicker(floorEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if short := s.shortage(); short > 0 {
				s.free(short)
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// sweep removes what the limit has no room for.
func (s *Store) sweep() {
	s.dropPartials(s.index.stale(s.now().Add(-partialAge)))
	s.evict(s.index.victims(0))
	s.dropPartials(s.index.surplus())
}

// free gives back at least n bytes of the volume if it can, partials first.
func (s *Store) free(n int64) {
	freed := s.dropPartials(s.index.everyPartial())
	if freed < n {
		s.evict(s.index.victims(n - freed))
	}
}

// evict deletes objects. What cannot be deleted goes back into the account, as the next to be tried again.
func (s *Store) evict(victims []object) {
	for _, o := range victims {
		d := o.digest()
		err := s.unlink(d)
		s.index.leaving.Add(-o.size)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.counts.DeleteFailures.Add(1)
			s.index.stick(o)
			s.report("evict "+d.String(), err)
			continue
		}
		s.counts.Evictions.Add(1)
	}
}

// unlink deletes the files of d: the content last, so that what a new transfer of d brings at once is not touched any more.
func (s *Store) unlink(d Digest) error {
	s.disk.remove(s.dir.meta(d))
	return s.disk.remove(s.dir.blob(d))
}

// dropPartials deletes partials that no fill has taken over meanwhile.
func (s *Store) dropPartials(gone []Digest) (freed int64) {
	s.ingest.Lock()
	defer s.ingest.Unlock()
	for _, d := range gone {
		if size, ok := s.index.takePartial(d); ok {
			freed += size
			s.removePartial(d)
		}
	}
	return freed
}

// removePartial deletes the partial of d. One that stays does no harm but for its bytes, which the next start finds.
func (s *Store) removePartial(d Digest) {
	for _, name := range []string{s.dir.note(d), s.dir.partial(d)} {
		if err := s.disk.remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.counts.DeleteFailures.Add(1)
			s.report("remove a partial of "+d.String(), err)
		}
	}
}

// Remove drops content. It is no error when there is none. Who reads it goes on reading.
func (s *Store) Remove(d Digest) error {
	if err := s.unlink(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.counts.DeleteFailures.Add(1)
		return fmt.Errorf("remove %s: %w", d, err)
	}
	s.index.remove(d)
	s.trusted.Remove(d)
	return nil
}

// drop removes content that is damaged.
func (s *Store) drop(d Digest, why error) {
	s.counts.Damaged.Add(1)
	s.report("drop damaged "+d.String(), why)
	if err := s.Remove(d); err != nil {
		s.report("drop damaged "+d.String(), err)
	}
}

// onDisk tells whether the final name of d is there.
func (s *Store) onDisk(d Digest) bool {
	_, err := os.Lstat(s.dir.blob(d))
	return err == nil
}

// reserve promises size bytes before they are written, so that many fills at once do not pass the limit together, nor what the volume
// has: free bytes, of which floor stay free. An error means that even without all that may be evicted there is no room; it changes
// nothing.
func (x *index) reserve(size, free, floor int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.taken+x.pinned+size > x.limit {
		return fmt.Errorf("%w for %s: the cache may hold %s (--max-size)%s",
			errNoRoom, inUnits(size), inUnits(x.limit), clause(", and %s of it are being read and filled", x.taken+x.pinned))
	}
	if owed := x.owed.Load(); floor+owed+size-x.evictable() > free {
		return fmt.Errorf("%w for %s: the volume has %s free%s%s%s", errNoRoom, inUnits(size), inUnits(free),
			clause(", %s more could be evicted", x.evictable()),
			clause(", of that %s are promised already", owed),
			clause(", of that %s stay free (--min-free)", floor))
	}
	x.taken += size
	x.owed.Add(size)
	return nil
}

// evictable is what the volume gets back at most when all goes that nobody reads, what is just going counted. The caller holds mu.
func (x *index) evictable() int64 {
	return x.bytes - x.pinned - x.stuckBytes + x.left + x.leaving.Load()
}

// canFree tells whether evictions can give back n bytes.
func (x *index) canFree(n int64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.evictable() >= n
}

// release takes a promise of size bytes back, owed of which were not written.
func (x *index) release(size, owed int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.taken -= size
	x.owed.Add(-owed)
}

// victims takes out of the account what must go, least recently used first: down to the low water when the limit is passed, and
// at least need bytes. What somebody reads stays, and nothing goes for the limit's sake before the scan has told what is oldest.
// What could not be deleted before is tried again and not counted on.
func (x *index) victims(need int64) []object {
	x.mu.Lock()
	defer x.mu.Unlock()
	if total := x.bytes + x.taken + x.left; x.scanned && total > x.limit {
		need = max(need, total-x.limit/100*lowWater)
	}
	var out []object
	for i := x.at(0).newer; i != 0 && need > 0; {
		e := x.at(i)
		next := e.newer
		if e.pins == 0 {
			out = append(out, x.object(i))
			if !e.stuck {
				need -= e.size
			}
			x.leaving.Add(e.size)
			x.forget(i)
		}
		i = next
	}
	return out
}

// stick takes a victim back that could not be deleted.
func (x *index) stick(o object) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e, _ := x.find(o.digest()); e != nil {
		return // used meanwhile
	}
	i := x.insert(o.digest(), o.size)
	x.at(i).used, x.at(i).stuck = uint32(o.used), true
	x.stuck++
	x.stuckBytes += o.size
	x.link(i, 0, x.at(0).newer)
}

// settle turns a promise of reserved bytes into an object that is there, pinned by the fill until its last reader has left. In one
// step, so that no sweep meanwhile counts it twice.
func (x *index) settle(d Digest, size, reserved, owed int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.hold(d, size)
	x.taken -= reserved
	x.owed.Add(-owed)
}

func (x *index) addPartial(d Digest, size int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.left += size - x.partials[d].size
	x.partials[d] = leftover{size, x.clock()}
}

// foundPartial is addPartial for the scan, which knows less than a transfer that has ended meanwhile.
func (x *index) foundPartial(d Digest, p leftover) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.partials[d]; !ok {
		x.partials[d] = p
		x.left += p.size
	}
}

// takePartial takes a partial out of the account and returns what it had there.
func (x *index) takePartial(d Digest) (size int64, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p, ok := x.partials[d]
	delete(x.partials, d)
	x.left -= p.size
	return p.size, ok
}

func (x *index) stale(before time.Time) []Digest {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []Digest
	for d, p := range x.partials {
		if p.when.Before(before) {
			out = append(out, d)
		}
	}
	return out
}

// surplus are the partials that are over their share, or over the limit when nothing else could go, the oldest first.
func (x *index) surplus() []Digest {
	x.mu.Lock()
	defer x.mu.Unlock()
	over := max(x.left-x.limit/100*partialShare, x.bytes+x.taken+x.left-x.limit)
	var out []Digest
	for _, d := range x.oldestPartials() {
		if over <= 0 {
			break
		}
		over -= x.partials[d].size
		out = append(out, d)
	}
	return out
}

func (x *index) everyPartial() []Digest {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.oldestPartials()
}

func (x *index) oldestPartials() []Digest {
	out := make([]Digest, 0, len(x.partials))
	for d := range x.partials {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Digest) int { return x.partials[a].when.Compare(x.partials[b].when) })
	return out
}
