package cache

import (
	"cmp"
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// index accounts for what is on disk: sizes, their sum and the order of use. It is never asked whether something exists; only the
// disk knows that. It is made for a million objects: an entry and its place take 64 bytes, and 8 more where the table is just grown.
type index struct {
	mu      sync.Mutex
	places  places
	blocks  [][]entry         // grown by whole blocks, so that growing copies nothing
	vacant  uint32            // the first of the entries that are free, linked by newer
	long    map[uint32]Digest // the sha512 digests, whose name does not fit in a key
	objects int64
	bytes   int64 // of all entries
	pinned  int64 // of those that somebody reads
	stuck   int64 // entries whose file could not be deleted
	scanned bool  // all that an earlier process left is here

	stuckBytes int64        // of the entries that are stuck
	leaving    atomic.Int64 // bytes of victims that are not deleted yet

	limit    int64
	taken    int64               // promised to fills under way
	owed     atomic.Int64        // the part of taken that is not on disk yet
	partials map[Digest]leftover // of transfers that broke and wait for their resume
	left     int64               // the bytes of partials
	clock    func() time.Time    // for the time of use
}

// entry is one object. Entry 0 is none, but the anchor of the ring: its newer is the oldest object, its older the newest.
type entry struct {
	key          key
	size         int64
	used         uint32 // seconds since 1970
	older, newer uint32
	pins         uint16 // readers
	sure         bool   // size was told by a commit or a meta file, not only by the file system
	stuck        bool
}

// leftover is a partial that no fill is writing.
type leftover struct {
	size int64
	when time.Time
}

const blockSize = 1 << 12

// key is the first 32 bytes of a digest, all there is of a sha256.
type key [32]byte

func (d Digest) key() (k key) {
	_, encoded := d.split()
	hex.Decode(k[:], []byte(encoded[:2*len(k)])) // a Digest holds nothing but hex
	return k
}

// long tells whether d is more than its key.
func (d Digest) long() bool { return strings.HasPrefix(d.s, "sha512:") }

func newIndex(limit int64, clock func() time.Time) *index {
	x := &index{limit: limit, clock: clock, places: newPlaces(), long: map[uint32]Digest{}}
	x.partials = map[Digest]leftover{}
	x.blocks = [][]entry{make([]entry, 1, blockSize)}
	return x
}

func (x *index) at(i uint32) *entry { return &x.blocks[i/blockSize][i%blockSize] }

// find returns the entry of d and its number, nil when there is none.
func (x *index) find(d Digest) (*entry, uint32) {
	i := x.places.find(x, d.key())
	if i == 0 || (d.long() && x.long[i] != d) {
		return nil, 0
	}
	return x.at(i), i
}

func (x *index) insert(d Digest, size int64) uint32 {
	i := x.vacant
	if i != 0 {
		x.vacant = x.at(i).newer
	} else {
		i = x.grow()
	}
	e := x.at(i)
	*e = entry{key: d.key(), size: size}
	x.places.put(x, i)
	if d.long() {
		x.long[i] = d
	}
	x.objects++
	x.bytes += size
	return i
}

func (x *index) grow() uint32 {
	last := len(x.blocks) - 1
	if len(x.blocks[last]) == blockSize {
		x.blocks = append(x.blocks, make([]entry, 0, blockSize))
		last++
	}
	x.blocks[last] = append(x.blocks[last], entry{})
	return uint32(last*blockSize + len(x.blocks[last]) - 1)
}

// link puts entry i between older and newer.
func (x *index) link(i, older, newer uint32) {
	x.at(i).older, x.at(i).newer = older, newer
	x.at(older).newer, x.at(newer).older = i, i
}

func (x *index) unlink(i uint32) {
	e := x.at(i)
	x.at(e.older).newer, x.at(e.newer).older = e.newer, e.older
}

// touch makes d the newest; the caller holds mu.
func (x *index) touch(d Digest, size int64) *entry {
	e, i := x.find(d)
	if e == nil {
		i = x.insert(d, size)
		e = x.at(i)
	} else {
		x.unlink(i)
	}
	x.resize(e, size)
	x.link(i, x.at(0).older, 0)
	e.used = uint32(x.clock().Unix())
	return e
}

func (x *index) resize(e *entry, size int64) {
	x.bytes += size - e.size
	if e.pins > 0 {
		x.pinned += size - e.size
	}
	if e.stuck {
		x.stuckBytes += size - e.size
	}
	e.size = size
}

// pin notes that a reader begins; what is pinned is not evicted. Its size is to be believed from now on.
func (x *index) pin(d Digest, size int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.hold(d, size)
}

func (x *index) hold(d Digest, size int64) {
	e := x.touch(d, size)
	e.sure = true
	if e.stuck {
		e.stuck = false
		x.stuck--
		x.stuckBytes -= e.size
	}
	if e.pins == 0 {
		x.pinned += size
	}
	if e.pins < math.MaxUint16 {
		e.pins++
	}
}

// unpin notes that a reader has left. True means that the limit is passed and something could go now: the caller sweeps.
func (x *index) unpin(d Digest) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, _ := x.find(d)
	if e == nil || e.pins == 0 {
		return false // removed while it was read
	}
	if e.pins--; e.pins > 0 {
		return false
	}
	x.pinned -= e.size
	return x.bytes+x.taken+x.left > x.limit
}

// known is the size that d must have.
func (x *index) known(d Digest) (size int64, sure bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e, _ := x.find(d); e != nil && e.sure {
		return e.size, true
	}
	return 0, false
}

func (x *index) has(d Digest) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, _ := x.find(d)
	return e != nil
}

func (x *index) remove(d Digest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, i := x.find(d); i != 0 {
		x.forget(i)
	}
}

func (x *index) forget(i uint32) {
	e := x.at(i)
	x.unlink(i)
	x.places.remove(x, i)
	delete(x.long, i)
	x.objects--
	x.bytes -= e.size
	if e.pins > 0 {
		x.pinned -= e.size
	}
	if e.stuck {
		x.stuck--
		x.stuckBytes -= e.size
	}
	*e = entry{newer: x.vacant}
	x.vacant = i
}

// aged is an entry that the scan has found, and its time of use.
type aged struct{ used, entry uint32 }

// adopt takes in what the scan found in one directory, as older than all that was used meanwhile, and notes it in list for inOrder.
func (x *index) adopt(found []object, list []aged) []aged {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, o := range found {
		if e, _ := x.find(o.digest()); e != nil {
			continue
		}
		n := x.insert(o.digest(), o.size)
		x.at(n).used = uint32(o.used)
		x.link(n, 0, x.at(0).newer)
		list = append(list, aged{uint32(o.used), n})
	}
	return list
}

// orderStep is how many entries are put in order while everybody else waits: less than a millisecond's work.
const orderStep = 1 << 12

// inOrder puts what the scan has found into the order of use, once it has found all. What was used meanwhile is newer and keeps its
// place.
func (x *index) inOrder(list []aged) {
	slices.SortFunc(list, func(a, b aged) int { return cmp.Compare(b.used, a.used) })
	for part := range slices.Chunk(list, orderStep) {
		x.mu.Lock()
		for _, a := range part {
			if e := x.at(a.entry); e.key != (key{}) && e.used == a.used { // neither removed nor used again
				x.unlink(a.entry)
				x.link(a.entry, 0, x.at(0).newer)
			}
		}
		x.mu.Unlock()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.scanned = true
}

func (x *index) usage() Usage {
	x.mu.Lock()
	defer x.mu.Unlock()
	return Usage{
		Objects: x.objects, Bytes: x.bytes, Limit: x.limit, Scanned: x.scanned,
		Partials: x.left, Reserved: x.taken, Pinned: x.pinned, Stuck: x.stuck,
	}
}
