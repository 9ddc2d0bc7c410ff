package hosts

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
)

// Change is what an edit of a hosts file did, or would do.
type Change struct {
	Diff      string     // in the unified form, empty when nothing changes
	Conflicts []Conflict // entries outside our block for the names just added
}

// Conflict is an entry for one of our names that is not ours. Most resolvers
// take the first entry of a file, or all of them, so it may win.
type Conflict struct {
	Line int // in the file as it was
	Name string
	IP   netip.Addr
}

// String is a warning in words.
func (c Conflict) String() string {
	return fmt.Sprintf("line %d already gives %s the address %s: take it out, or clients may go there", c.Line, c.Name, c.IP)
}

// Overrides returns the names in our block of a hosts file, sorted. A file
// without a block has none.
func Overrides(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("list overrides: %w", err)
	}
	h, err := parseHosts(text)
	if err != nil {
		return nil, fmt.Errorf("list overrides: %s: %w", path, err)
	}
	return h.names(), nil
}

// AddOverrides gives every name all the addresses, in our block of a hosts
// file. Names that are in the block already get these addresses instead of
// theirs; all else in the file stays as it is, byte for byte. A dry run changes
// nothing and tells the same.
func AddOverrides(path string, ips []netip.Addr, names []string, dryRun bool) (Change, error) {
	names, err := overrideNames(names)
	if err == nil {
		err = checkAddressesAndNames(ips, names)
	}
	if err != nil {
		return Change{}, fmt.Errorf("add overrides: %w", err)
	}
	c, err := theEditor().edit(path, dryRun, func(h *hostsText) []Conflict {
		h.add(ips, names)
		return h.foreign(names)
	})
	if err != nil {
		return Change{}, fmt.Errorf("add overrides: %w", err)
	}
	return c, nil
}

// RemoveOverrides takes names out of our block, or with no names all of them.
// A name that is not there is no error. The block goes with its last name.
func RemoveOverrides(path string, names []string, dryRun bool) (Change, error) {
	names, err := overrideNames(names)
	if err != nil {
		return Change{}, fmt.Errorf("remove overrides: %w", err)
	}
	c, err := theEditor().edit(path, dryRun, func(h *hostsText) []Conflict {
		h.remove(names)
		return nil
	})
	if err != nil {
		return Change{}, fmt.Errorf("remove overrides: %w", err)
	}
	return c, nil
}

// overrideNames judges names: a hosts file knows neither patterns nor ports.
func overrideNames(names []string) ([]string, error) {
	clean := make([]string, len(names))
	for i, name := range names {
		a, ok := parseAuthority(name)
		switch {
		case !ok || a.host[0] == '[' || isIPv4(a.host):
			return nil, fmt.Errorf("%q is not a host name: write each name in full, as registry.example.com", name)
		case a.port != "":
			return nil, fmt.Errorf("%q has a port: write %q", name, a.host)
		}
		clean[i] = a.host
	}
	slices.Sort(clean)
	return slices.Compact(clean), nil
}

func checkAddressesAndNames(ips []netip.Addr, names []string) error {
	switch {
	case len(names) == 0:
		return errors.New("no name given")
	case len(ips) == 0:
		return errors.New("no address given: 127.0.0.1 is this machine")
	case slices.ContainsFunc(ips, func(ip netip.Addr) bool { return !ip.IsValid() || ip.IsUnspecified() }):
		return fmt.Errorf("one of the addresses %v cannot be connected to: 127.0.0.1 is this machine", ips)
	}
	return nil
}

// diff is the unified form of one changed stretch, which is all that an edit of
// a block can make.
func diff(path string, old, text []byte) string {
	if bytes.Equal(old, text) {
		return ""
	}
	const context = 3
	a, b := slices.Collect(bytes.Lines(old)), slices.Collect(bytes.Lines(text))
	head := 0
	for head < min(len(a), len(b)) && bytes.Equal(a[head], b[head]) {
		head++
	}
	tail := 0
	for tail < min(len(a), len(b))-head && bytes.Equal(a[len(a)-1-tail], b[len(b)-1-tail]) {
		tail++
	}
	from, behind := max(0, head-context), min(context, tail)
	var out bytes.Buffer
	fmt.Fprintf(&out, "--- %s\n+++ %s\n@@ -%s +%s @@\n", path, path, span(from, len(a)-tail+behind), span(from, len(b)-tail+behind))
	writeLines(&out, " ", a[from:head])
	writeLines(&out, "-", a[head:len(a)-tail])
	writeLines(&out, "+", b[head:len(b)-tail])
	writeLines(&out, " ", a[len(a)-tail:len(a)-tail+behind])
	return out.String()
}

// span is a range of lines as diff writes it: an empty one is named by the line
// in front of it.
func span(from, to int) string {
	if from == to {
		return fmt.Sprintf("%d,0", from)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}

func writeLines(out *bytes.Buffer, sign string, lines [][]byte) {
	for _, line := range lines {
		out.WriteString(sign)
		out.Write(line)
		if line[len(line)-1] != '\n' {
			out.WriteString("\n\\ No newline at end of file\n")
		}
	}
}
