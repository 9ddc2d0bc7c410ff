package cache

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestPlaces compares the table with a map, over so many insertions and removals that it grows and is often nearly full.
func TestPlaces(t *testing.T) {
	x, want := newIndex(1<<40, time.Now), map[Digest]bool{}
	digests := make([]Digest, 3000)
	for i := range digests {
		digests[i] = DigestOf(fmt.Append(nil, i))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for step := range 100_000 {
		d := digests[random.IntN(len(digests))]
		if random.IntN(5) < 3 {
			x.pin(d, 1)
			x.unpin(d)
			want[d] = true
		} else {
			x.remove(d)
			delete(want, d)
		}
		if step%1000 != 0 {
			continue
		}
		for _, d := range digests {
			if got := x.has(d); got != want[d] {
				t.Fatalf("after %d steps: %s: got %v, want %v", step, d, got, want[d])
			}
		}
		if got := x.usage().Objects; got != int64(len(want)) || x.places.taken != len(want) {
			t.Fatalf("after %d steps: got %d objects and %d places, want %d", step, got, x.places.taken, len(want))
		}
	}
}

// TestInOrder: what the scan finds stands in the order of its use, before all that was used while it ran, and what was removed
// meanwhile stays away.
func TestInOrder(t *testing.T) {
	now := time.Unix(1000, 0)
	x := newIndex(1<<40, func() time.Time { return now })
	found := func(name string, used int64) object {
		return object{key: DigestOf([]byte(name)).key(), size: 1, used: used}
	}
	x.pin(DigestOf([]byte("new")), 1)
	list := x.adopt([]object{found("30", 30), found("10", 10), found("gone", 5), found("used", 1)}, nil)
	list = x.adopt([]object{found("20", 20), found("new", 15)}, list)
	x.pin(DigestOf([]byte("used")), 1)
	x.remove(DigestOf([]byte("gone")))
	x.inOrder(list)
	var got []Digest
	for i := x.at(0).newer; i != 0; i = x.at(i).newer {
		got = append(got, x.object(i).digest())
	}
	want := []string{"10", "20", "30", "new", "used"}
	for i, name := range want {
		if i >= len(got) || got[i] != DigestOf([]byte(name)) {
			t.Fatalf("got %v, want the digests of %v", got, want)
		}
	}
	if len(got) != len(want) || !x.usage().Scanned {
		t.Errorf("got %d objects, scanned %v, want %d and true", len(got), x.usage().Scanned, len(want))
	}
}
