package hosts

import (
	"container/list"
	"net/netip"
	"slices"
	"time"
)

// answer is what is known of a name: addresses, or an error.
type answer struct {
	addrs []netip.Addr
	err   error
	fresh time.Time // until then nobody is asked
	held  time.Time // the same for addresses beyond their time, after a failure
}

// freshAt tells whether the answer may be given without asking.
func (a answer) freshAt(now time.Time) bool { return now.Before(a.fresh) || now.Before(a.held) }

// result is a copy for a caller to keep.
func (a answer) result() ([]netip.Addr, error) { return slices.Clone(a.addrs), a.err }

// answerCache keeps a bounded number of answers, dropping the one that was
// longest not asked for. It is not safe for concurrent use.
type answerCache struct {
	size  int
	order *list.List // of *keptAnswer, the latest in front
	byKey map[string]*list.Element
}

type keptAnswer struct {
	name string
	answer
}

func newAnswerCache(size int) *answerCache {
	return &answerCache{size: size, order: list.New(), byKey: map[string]*list.Element{}}
}

// get returns the zero answer, which was never fresh, for a name not known.
func (c *answerCache) get(name string) answer {
	e := c.byKey[name]
	if e == nil {
		return answer{}
	}
	c.order.MoveToFront(e)
	return e.Value.(*keptAnswer).answer
}

func (c *answerCache) put(name string, a answer) {
	if e := c.byKey[name]; e != nil {
		e.Value.(*keptAnswer).answer = a
		c.order.MoveToFront(e)
		return
	}
	c.byKey[name] = c.order.PushFront(&keptAnswer{name, a})
	if c.order.Len() > c.size {
		last := c.order.Back()
		delete(c.byKey, last.Value.(*keptAnswer).name)
		c.order.Remove(last)
	}
}
