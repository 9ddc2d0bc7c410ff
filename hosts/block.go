package hosts

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const (
	blockBegin = "# BEGIN entrepot"
	blockEnd   = "# END entrepot"

	// beginNote follows blockBegin, for whoever opens the file.
	beginNote = ": changed by \"entrepot hosts\", not by hand"

	// unended says that the line before the block had no newline until the
	// block came, so that taking the block out can restore that.
	unended = " (no newline before)"
)

// hostsText is a hosts file in three parts. Only the block is ours; before and
// after are kept byte for byte.
type hostsText struct {
	before, block, after []byte
	unended              bool // the newline at the end of before is ours
	entries              []entry
}

// entry is an address and a name that it is given to.
type entry struct {
	ip   netip.Addr
	name string
}

// parseHosts finds the block. A damaged one is an error: guessing where it ends
// could throw somebody's lines away.
func parseHosts(text []byte) (hostsText, error) {
	begin, end, first := -1, -1, 0
	number, offset := 0, 0
	h := hostsText{before: text}
	for line := range bytes.Lines(text) {
		number++
		start := offset
		offset += len(line)
		switch trimmed := strings.TrimSpace(string(line)); {
		case marks(trimmed, blockBegin):
			if begin >= 0 {
				return h, fmt.Errorf("line %d: a second %q, the first is in line %d: leave one block with its %q, take the other lines out by hand", number, blockBegin, first, blockEnd)
			}
			begin, first = start, number
			h.unended = strings.HasSuffix(trimmed, unended)
		case marks(trimmed, blockEnd):
			if begin < 0 || end >= 0 {
				return h, fmt.Errorf("line %d: %q without a %q before it: take the line out by hand", number, blockEnd, blockBegin)
			}
			end = offset
		case begin >= 0 && end < 0:
			h.entries = append(h.entries, parseEntries(trimmed)...)
		}
	}
	switch {
	case begin < 0:
		return h, nil
	case end < 0:
		return h, fmt.Errorf("line %d: %q without a %q after it: write %q behind the last line of the block, or take its lines out by hand", first, blockBegin, blockEnd, blockEnd)
	}
	h.before, h.block, h.after = text[:begin], text[begin:end], text[end:]
	return h, nil
}

// marks tells whether a line is a marker and not a longer word's comment.
func marks(line, marker string) bool {
	rest, ok := strings.CutPrefix(line, marker)
	return ok && (rest == "" || strings.ContainsAny(rest[:1], " \t:"))
}

// parseEntries reads one line of a hosts file. A line that is not of that form
// holds nothing.
func parseEntries(line string) []entry {
	if i := strings.IndexByte(line, '#'); i >= 0 {
		line = line[:i]
	}
	words := strings.Fields(line)
	if len(words) < 2 {
		return nil
	}
	ip, err := netip.ParseAddr(words[0])
	if err != nil {
		return nil
	}
	var entries []entry
	for _, word := range words[1:] {
		if name, ok := canonicalHost(word); ok {
			entries = append(entries, entry{ip, name})
		}
	}
	return entries
}

// names returns the names of the block, each once, sorted.
func (h hostsText) names() []string {
	var names []string
	for _, e := range h.entries {
		names = append(names, e.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// add gives every name the addresses, in place of those it had in the block.
func (h *hostsText) add(ips []netip.Addr, names []string) {
	h.remove(names)
	for _, name := range names {
		for _, ip := range ips {
			h.entries = append(h.entries, entry{ip, name})
		}
	}
}

// remove takes names out of the block; none means all of them.
func (h *hostsText) remove(names []string) {
	h.entries = slices.DeleteFunc(h.entries, func(e entry) bool {
		return len(names) == 0 || slices.Contains(names, e.name)
	})
}

// text writes the file with the block as its entries say, at the place where it
// was, or else at the end. Without entries there is no block, and a newline
// that came with it goes with it.
func (h hostsText) text() []byte {
	if len(h.entries) == 0 {
		return h.withoutBlock()
	}
	newline := h.newline()
	before := slices.Clip(h.before)
	added := h.unended
	if len(before) > 0 && before[len(before)-1] != '\n' {
		before, added = append(before, newline...), true
	}
	return slices.Concat(before, h.written(newline, added), h.after)
}

func (h hostsText) withoutBlock() []byte {
	before := h.before
	if h.unended && len(h.after) == 0 {
		before = bytes.TrimSuffix(before, []byte(h.newline()))
	}
	return slices.Concat(before, h.after)
}

// newline is how the file ends its lines. A newline that came with the block
// is not asked: behind a line that ends in a bare CR it would look like CRLF,
// and the CR is not ours to take away.
func (h hostsText) newline() string {
	text := h.before
	if h.unended {
		text = bytes.TrimSuffix(text, []byte("\n"))
	}
	if i := bytes.LastIndexByte(text, '\n'); i > 0 && text[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// written is the block, its entries in the order of their names, so that the
// same wishes give the same bytes.
func (h hostsText) written(newline string, unendedBefore bool) []byte {
	entries := slices.Clone(h.entries)
	slices.SortStableFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	var b bytes.Buffer
	b.WriteString(blockBegin + beginNote)
	if unendedBefore {
		b.WriteString(unended)
	}
	b.WriteString(newline)
	for _, e := range slices.Compact(entries) {
		b.WriteString(e.ip.String() + "\t" + e.name + newline)
	}
	b.WriteString(blockEnd)
	// An END that was the last line without a newline gets one: another
	// program's ">>" would otherwise run into it.
	b.WriteString(newline)
	return b.Bytes()
}

// foreign returns the lines outside the block that speak of one of the names.
func (h hostsText) foreign(names []string) []Conflict {
	found := conflicts(h.before, 0, names)
	above := bytes.Count(h.before, []byte("\n")) + bytes.Count(h.block, []byte("\n"))
	return append(found, conflicts(h.after, above, names)...)
}

// conflicts looks through a part of a file that has so many lines above it.
func conflicts(part []byte, above int, names []string) []Conflict {
	var found []Conflict
	number := above
	for line := range bytes.Lines(part) {
		number++
		for _, e := range parseEntries(strings.TrimSpace(string(line))) {
			if slices.Contains(names, e.name) {
				found = append(found, Conflict{Line: number, Name: e.name, IP: e.ip})
			}
		}
	}
	return found
}
