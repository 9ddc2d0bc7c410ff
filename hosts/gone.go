package hosts

import (
	"fmt"
	"math"
	"time"
)

// WhenGone says what becomes of a tag that is held here when upstream answers
// that it has no such tag (404). Content that is asked for by digest is not
// touched by it. Zero is "not said", which ends up as Gone.
//
// Some delete an image so that nobody pulls it any more, and others have their
// images deleted under them (harbor#22106); only the operator knows which.
type WhenGone time.Duration

const (
	// Gone answers 404 too, and forgets the tag.
	Gone WhenGone = -1
	// Keep serves the last known for ever.
	Keep WhenGone = math.MaxInt64
)

// KeepFor serves the last known until upstream has not been seen to have it
// for d. Nothing to keep it for is Gone.
func KeepFor(d time.Duration) WhenGone {
	if d <= 0 {
		return Gone
	}
	return WhenGone(d)
}

// Keeps tells whether a tag may be served that upstream last had so long ago,
// and has no more.
func (w WhenGone) Keeps(ago time.Duration) bool {
	return w == Keep || w > 0 && ago < time.Duration(w)
}

// String returns "gone", "keep" or a duration; "" when nothing is said.
func (w WhenGone) String() string {
	switch {
	case w == 0:
		return ""
	case w == Gone:
		return "gone"
	case w == Keep:
		return "keep"
	case w < 0:
		return fmt.Sprintf("WhenGone(%d)", int64(w))
	}
	return time.Duration(w).String()
}
