package cache

import (
	"math"
	"slices"
	"sort"
)

// span is the bytes of an object from from up to but not including to.
type span struct{ from, to int64 }

// spans is a set of bytes: sorted, without overlap, and with no two that touch, so that it stays short whatever order they come in.
type spans []span

// at is the index of the first span that ends behind pos.
func (s spans) at(pos int64) int {
	return sort.Search(len(s), func(i int) bool { return s[i].to > pos })
}

// end is where the span that holds pos ends, or pos itself when none does.
func (s spans) end(pos int64) int64 {
	if i := s.at(pos); i < len(s) && s[i].from <= pos {
		return s[i].to
	}
	return pos
}

// next is the first byte at or behind pos that is in the set.
func (s spans) next(pos int64) int64 {
	if i := s.at(pos); i < len(s) {
		return max(pos, s[i].from)
	}
	return math.MaxInt64
}

// gap is the first run of bytes below size that are not in the set; it is empty when all are.
func (s spans) gap(size int64) span {
	from := min(s.end(0), size)
	return span{from, min(s.next(from), size)}
}

func (s *spans) add(from, to int64) {
	if from >= to {
		return
	}
	i := sort.Search(len(*s), func(i int) bool { return (*s)[i].to >= from })
	j := i
	for ; j < len(*s) && (*s)[j].from <= to; j++ {
		from, to = min(from, (*s)[j].from), max(to, (*s)[j].to)
	}
	*s = slices.Replace(*s, i, j, span{from, to})
}

func (s *spans) cut(from, to int64) {
	if from >= to {
		return
	}
	i := s.at(from)
	j := i
	var rest []span
	for ; j < len(*s) && (*s)[j].from < to; j++ {
		if one := (*s)[j]; one.from < from {
			rest = append(rest, span{one.from, from})
		}
		if one := (*s)[j]; one.to > to {
			rest = append(rest, span{to, one.to})
		}
	}
	*s = slices.Replace(*s, i, j, rest...)
}
