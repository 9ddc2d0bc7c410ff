package cache

import "hash/maphash"

// places finds an entry by its key: an open table of entry numbers with linear probing. The keys stand in the entries, so that it takes
// a fourth of the memory of a map, and the garbage collector sees one piece without pointers.
type places struct {
	seed  maphash.Seed // so that nobody can choose digests that fall on one place
	slots []uint32     // 0 for none; a power of two of them
	taken int
}

const firstPlaces = 64

func newPlaces() places { return places{seed: maphash.MakeSeed(), slots: make([]uint32, firstPlaces)} }

// slot is where k stands, or where it would.
func (p *places) slot(x *index, k key) int {
	mask := len(p.slots) - 1
	at := p.home(k)
	for p.slots[at] != 0 && x.at(p.slots[at]).key != k {
		at = (at + 1) & mask
	}
	return at
}

func (p *places) home(k key) int { return int(maphash.Bytes(p.seed, k[:])) & (len(p.slots) - 1) }

// find returns the entry with the key k, 0 if there is none.
func (p *places) find(x *index, k key) uint32 { return p.slots[p.slot(x, k)] }

// put takes in the entry i, in the place of one that has the same key.
func (p *places) put(x *index, i uint32) {
	if p.taken+p.taken/3 >= len(p.slots) { // three quarters full
		p.grow(x)
	}
	at := p.slot(x, x.at(i).key)
	if p.slots[at] == 0 {
		p.taken++
	}
	p.slots[at] = i
}

func (p *places) grow(x *index) {
	old := p.slots
	p.slots = make([]uint32, 2*len(old))
	for _, i := range old {
		if i != 0 {
			p.slots[p.slot(x, x.at(i).key)] = i
		}
	}
}

// remove takes out the entry i, whose key is still in it, and moves up those behind it that would not be found any more.
func (p *places) remove(x *index, i uint32) {
	mask := len(p.slots) - 1
	hole := p.slot(x, x.at(i).key)
	if p.slots[hole] != i {
		return // another one has taken its place
	}
	p.taken--
	for at := hole; ; {
		at = (at + 1) & mask
		next := p.slots[at]
		if next == 0 {
			break
		}
		if home := p.home(x.at(next).key); (at-home)&mask >= (at-hole)&mask {
			p.slots[hole] = next
			hole = at
		}
	}
	p.slots[hole] = 0
}
