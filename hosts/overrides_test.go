package hosts

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var (
	loopback = netip.MustParseAddr("127.0.0.1")
	both     = []netip.Addr{loopback, netip.MustParseAddr("::1")}
)

const (
	begin = blockBegin + beginNote
	usual = "127.0.0.1 localhost\n# mine\n10.0.0.1 nas # disk\n"
)

// hostsFile makes a file to edit.
func hostsFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hosts")
	write(t, path, text)
	return path
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func mustAdd(t testing.TB, path string, ips []netip.Addr, names ...string) Change {
	t.Helper()
	c, err := AddOverrides(path, ips, names, false)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustRemove(t testing.TB, path string, names ...string) Change {
	t.Helper()
	c, err := RemoveOverrides(path, names, false)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAddOverrides(t *testing.T) {
	block := begin + "\n127.0.0.1\tgcr.io\n::1\tgcr.io\n127.0.0.1\tquay.io\n::1\tquay.io\n" + blockEnd + "\n"
	tests := []struct{ what, text, want string }{
		{"empty", "", block},
		{"usual", usual, usual + block},
		{"block already there", usual + block + "10.0.0.2 b\n", usual + block + "10.0.0.2 b\n"},
		{"other address", usual + strings.ReplaceAll(block, "127.0.0.1", "10.9.9.9") + "10.0.0.2 b\n", usual + block + "10.0.0.2 b\n"},
		{"one name there", begin + "\n::1 quay.io\n" + blockEnd + "\n" + usual, block + usual},
		{"two on a line", usual + begin + "\n10.1.1.1 gcr.io QUAY.IO. # x\n\n" + blockEnd + "\n", usual + block},
		{"older marker", usual + blockBegin + "\n" + blockEnd + " here\n", usual + block},
		{"block without a last newline", usual + strings.TrimSuffix(block, "\n"), usual + block},
		{"no last newline", "10.0.0.1 a", "10.0.0.1 a\n" + strings.Replace(block, "\n", unended+"\n", 1)},
		{"CRLF", "10.0.0.1 a\r\n", "10.0.0.1 a\r\n" + strings.ReplaceAll(block, "\n", "\r\n")},
		{"a comment that only looks like it", blockBegin + "-like\n", blockBegin + "-like\n" + block},
	}
	for _, test := range tests {
		path := hostsFile(t, test.text)
		c := mustAdd(t, path, both, "quay.io", "GCR.io.", "quay.io")
		if got := read(t, path); got != test.want {
			t.Errorf("%s: got %q, want %q", test.what, got, test.want)
		}
		if (c.Diff == "") != (test.text == test.want) {
			t.Errorf("%s: got diff %q", test.what, c.Diff)
		}
		if c := mustAdd(t, path, both, "gcr.io", "quay.io"); c.Diff != "" || read(t, path) != test.want {
			t.Errorf("%s: a second time changed %q", test.what, c.Diff)
		}
	}
}

func TestRemoveOverrides(t *testing.T) {
	for _, text := range []string{"", usual, "10.0.0.1 a", "\n", "\r\n", "a\r", "a\r\nb", "a\r\nb\r", "a\n\r\n\n", "\xff\x00"} {
		path := hostsFile(t, text)
		mustAdd(t, path, both, "quay.io")
		mustAdd(t, path, both, "ghcr.io")
		mustRemove(t, path, "quay.io", "absent.example")
		if got, err := Overrides(path); err != nil || !slices.Equal(got, []string{"ghcr.io"}) {
			t.Errorf("%q: got %v %v, want ghcr.io", text, got, err)
		}
		mustRemove(t, path)
		if got := read(t, path); got != text {
			t.Errorf("after add and remove: got %q, want %q", got, text)
		}
		if c := mustRemove(t, path); c.Diff != "" {
			t.Errorf("a second time: got diff %q, want none", c.Diff)
		}
	}
}

// What another program appends behind the block is a line of its own, and stays
// when the block goes.
func TestLinesBehindTheBlock(t *testing.T) {
	path := hostsFile(t, "10.0.0.1 a")
	mustAdd(t, path, both, "quay.io")
	write(t, path, read(t, path)+"10.0.0.2 b\n")
	mustRemove(t, path)
	if got, want := read(t, path), "10.0.0.1 a\n10.0.0.2 b\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOverrides(t *testing.T) {
	path := hostsFile(t, usual)
	if got, err := Overrides(path); err != nil || len(got) != 0 {
		t.Errorf("without a block: got %v %v, want none", got, err)
	}
	mustAdd(t, path, both, "quay.io", "docker.io")
	if got, err := Overrides(path); err != nil || !slices.Equal(got, []string{"docker.io", "quay.io"}) {
		t.Errorf("got %v %v, want docker.io and quay.io", got, err)
	}
	if _, err := Overrides(path + ".missing"); err == nil || !strings.HasPrefix(err.Error(), "list overrides: ") {
		t.Errorf("a missing file: got %v, want an error that begins with the doing", err)
	}
}

func TestDamagedBlock(t *testing.T) {
	tests := []struct {
		what, text string
		want       []string
	}{
		{"no END", "a\n" + begin + "\n127.0.0.1 quay.io\n10.0.0.1 mine\n", []string{"line 2", "without", "by hand"}},
		{"no BEGIN", "a\nb\n" + blockEnd + "\n", []string{"line 3", "take the line out"}},
		{"two BEGIN", begin + "\n" + begin + "\n" + blockEnd + "\n", []string{"line 2", "the first is in line 1"}},
		{"two blocks", begin + "\n" + blockEnd + "\n" + begin + "\n" + blockEnd + "\n", []string{"line 3", "leave one block"}},
		{"two END", begin + "\n" + blockEnd + "\n" + blockEnd + "\n", []string{"line 3"}},
	}
	for _, test := range tests {
		path := hostsFile(t, test.text)
		_, addErr := AddOverrides(path, both, []string{"quay.io"}, false)
		_, removeErr := RemoveOverrides(path, nil, false)
		_, listErr := Overrides(path)
		for _, err := range []error{addErr, removeErr, listErr} {
			if err == nil {
				t.Errorf("%s: got no error", test.what)
				continue
			}
			for _, want := range append(test.want, path) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s: got %q, want it to contain %q", test.what, err, want)
				}
			}
		}
		if got := read(t, path); got != test.text {
			t.Errorf("%s: the file was changed to %q", test.what, got)
		}
	}
}

func TestOverrideArguments(t *testing.T) {
	path := hostsFile(t, usual)
	tests := []struct {
		ips   []netip.Addr
		names []string
		want  string
	}{
		{both, nil, "no name"},
		{nil, []string{"quay.io"}, "127.0.0.1 is this machine"},
		{[]netip.Addr{{}}, []string{"quay.io"}, "cannot be connected to"},
		{[]netip.Addr{netip.IPv4Unspecified()}, []string{"quay.io"}, "cannot be connected to"},
		{both, []string{"*.gcr.io"}, "write each name in full"},
		{both, []string{"quay.io\n1.2.3.4 evil"}, "write each name in full"},
		{both, []string{""}, "write each name in full"},
		{both, []string{"10.0.0.1"}, "write each name in full"},
		{both, []string{"::1"}, "write each name in full"},
		{both, []string{"reg.corp:5000"}, `write "reg.corp"`},
	}
	for _, test := range tests {
		if _, err := AddOverrides(path, test.ips, test.names, false); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("AddOverrides(%v, %q): got %v, want %q", test.ips, test.names, err, test.want)
		}
	}
	if _, err := RemoveOverrides(path, []string{"*"}, false); err == nil {
		t.Error("RemoveOverrides(*): got no error")
	}
	if got := read(t, path); got != usual {
		t.Errorf("the file was changed to %q", got)
	}
}

func TestConflicts(t *testing.T) {
	path := hostsFile(t, "10.0.0.1 a Quay.io\n# 10.0.0.2 quay.io\n"+begin+"\n127.0.0.1 quay.io\n"+blockEnd+"\n\n10.0.0.3 quay.io\n10.0.0.4 ghcr.io\n")
	for _, dryRun := range []bool{true, false} {
		c, err := AddOverrides(path, both, []string{"quay.io"}, dryRun)
		if err != nil {
			t.Fatal(err)
		}
		want := []Conflict{{1, "quay.io", netip.MustParseAddr("10.0.0.1")}, {7, "quay.io", netip.MustParseAddr("10.0.0.3")}}
		if !slices.Equal(c.Conflicts, want) {
			t.Errorf("got %v, want %v", c.Conflicts, want)
		}
		if got := c.Conflicts[0].String(); !strings.HasPrefix(got, "line 1 already gives quay.io the address 10.0.0.1") {
			t.Errorf("got %q", got)
		}
	}
}

func TestDryRunTellsTheDiff(t *testing.T) {
	text := "1 a\n2 b\n3 c\n4 d\n5 e"
	path := hostsFile(t, text)
	c, err := AddOverrides(path, []netip.Addr{loopback}, []string{"quay.io"}, true)
	if err != nil {
		t.Fatal(err)
	}
	want := "--- " + path + "\n+++ " + path + "\n@@ -2,4 +2,7 @@\n 2 b\n 3 c\n 4 d\n-5 e\n\\ No newline at end of file\n+5 e\n+" +
		begin + unended + "\n+127.0.0.1\tquay.io\n+" + blockEnd + "\n"
	if c.Diff != want {
		t.Errorf("got %q, want %q", c.Diff, want)
	}
	if got := read(t, path); got != text {
		t.Errorf("a dry run changed the file to %q", got)
	}
	if real := mustAdd(t, path, []netip.Addr{loopback}, "quay.io"); real.Diff != want {
		t.Errorf("the real run: got %q, want %q", real.Diff, want)
	}
	if c, err := RemoveOverrides(path, nil, true); err != nil || !strings.Contains(c.Diff, "-127.0.0.1\tquay.io\n") {
		t.Errorf("removal: got %q %v", c.Diff, err)
	}
}

func TestDiffOfAnEmptyFile(t *testing.T) {
	if got, want := diff("h", nil, []byte("a\n")), "--- h\n+++ h\n@@ -0,0 +1,1 @@\n+a\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Whatever a file holds: an edit touches the block only, doing it twice is
// doing it once, and taking everything out again restores the file.
func FuzzBlock(f *testing.F) {
	for _, text := range []string{
		usual, "", "a", "a\r\nb", "a\r\nb\r", begin + "\n1.2.3.4 x\n" + blockEnd + "\nz", blockEnd, begin,
		"x\r\n" + begin + unended + "\r\n::1 quay.io\r\n" + blockEnd,
	} {
		f.Add([]byte(text), "quay.io")
	}
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		names, err := overrideNames([]string{name})
		if err != nil {
			names = []string{"quay.io"}
		}
		h, err := parseHosts(text)
		if err != nil {
			return
		}
		was := h
		h.add(both, names)
		added := h.text()
		again, err := parseHosts(added)
		if err != nil {
			t.Fatalf("%q is damaged: %v", added, err)
		}
		if !bytes.HasPrefix(again.before, was.before) || !bytes.Equal(again.after, was.after) {
			t.Errorf("outside the block: got %q and %q, want %q and %q", again.before, again.after, was.before, was.after)
		}
		if !slices.Contains(again.names(), names[0]) {
			t.Errorf("got %v, want %v", again.names(), names)
		}
		again.add(both, names)
		if twice := again.text(); !bytes.Equal(twice, added) {
			t.Errorf("a second time: got %q, want %q", twice, added)
		}
		again.remove(nil)
		if removed := again.text(); was.block == nil && !bytes.Equal(removed, text) {
			t.Errorf("add and remove: got %q, want %q", removed, text)
		}
	})
}
