package main

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/entrepot/entrepot/testdata/world/mounts"
)

// A floor of free space that is the whole volume was taken without a word, and then nothing was ever kept.
func TestFloorOfAVolume(t *testing.T) {
	if !mounts.Own(t) {
		return
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, 0) })
	data := dir + "/not/made/yet"
	of := " the 64 MiB of the volume that " + data + " lies on"
	for _, c := range []struct{ min, max, want string }{
		{"100%", "80%", `entrepot: --min-free: got "100%", want less than` + of + "\nhint: it stays free"},
		{"64MiB", "80%", `entrepot: --min-free: got "64MiB", want less than` + of},
		{"63MiB", "64MiB", ""},
		{"99%", "64MiB", ""},
		{"0", "65MiB", `entrepot: warning: --max-size: "65MiB" is more than` + of + ": only --min-free bounds the cache\n"},
		{"0", "5kib", `entrepot: warning: --max-size: "5kib" is 5.0 KiB: hardly a layer fits, and what does not is passed on`},
		{"0", "80%", `entrepot: warning: --max-size: "80%" is 51 MiB: hardly a layer fits`},
		{"0", "0", `entrepot: --max-size: got "0", want a size above 0, such as 50GiB`},
	} {
		_, stderr, code := output(t, nil, "config", "check", "--data-dir", data, "--min-free", c.min, "--max-size", c.max)
		refused := c.want != "" && !strings.Contains(c.want, "warning")
		if !strings.HasPrefix(stderr, c.want) || (stderr == "") != (c.want == "") || (code != 0) != refused {
			t.Errorf("--min-free %s --max-size %s: got %d, %q, want %q", c.min, c.max, code, stderr, c.want)
		}
	}
	serveIn(t, data, nil, "--max-size", "900TiB", "--min-free", "0").until(`--max-size: "900TiB" is more than the 64 MiB of the volume`)
	serveIn(t, dir+"/other", nil).until(`max-size: "80%" is 51 MiB: hardly a layer fits`)
}

func TestParseFloor(t *testing.T) {
	for _, c := range []struct {
		text string
		want size
	}{
		{"10GiB", size{bytes: 10 << 30}},
		{"5%", size{percent: 5}},
		{"0", size{bytes: noFloor}},
		{"0%", size{bytes: noFloor}},
		{"0.0 GiB", size{bytes: noFloor}},
		{"-1GiB", size{}},
		{"5", size{}},
	} {
		if got, err := parseFloor(c.text); got != c.want || (err != nil) != (c.want == size{}) {
			t.Errorf("parseFloor(%q): got %v, %v, want %v", c.text, got, err, c.want)
		}
	}
}
