package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		text string
		want size
	}{
		{"50GiB", size{bytes: 50 << 30}},
		{"500MB", size{bytes: 500e6}},
		{"1.5TiB", size{bytes: 3 << 39}},
		{"10 kB", size{bytes: 10_000}},
		{"1b", size{bytes: 1}},
		{"80%", size{percent: 80}},
		{"12.5%", size{percent: 12.5}},
		{"", size{}},
		{"0", size{}},
		{"0%", size{}},
		{"101%", size{}},
		{"50G", size{}}, // 1000 or 1024?
		{"50", size{}},
		{"-1GiB", size{}},
		{"GiB", size{}},
		{"1e3GiB", size{}},
		{"4096PiB", size{bytes: 1 << 62}},
		{"4097PiB", size{}},
		{"0.1b", size{}},
	} {
		got, err := parseSize(c.text)
		if got != c.want || (err != nil) != (c.want == size{}) {
			t.Errorf("parseSize(%q): got %v, %v, want %v", c.text, got, err, c.want)
		}
	}
}

// A size with a digit too many got the word that is for no size at all.
func TestSizeIsTooLarge(t *testing.T) {
	for _, text := range []string{"99999999999999GiB", strings.Repeat("9", 400) + "b"} {
		_, err := parseSize(text)
		var got fault
		if want := "at most 4096PiB"; !errors.As(err, &got) || got.want != want || !strings.HasPrefix(got.hint, "it is too large") {
			t.Errorf("parseSize(%q): got %q, %q, want %q", text, got.want, got.hint, want)
		}
	}
}

func TestSizeOfVolume(t *testing.T) {
	dir := t.TempDir()
	all, err := size{percent: 100}.of(dir)
	if err != nil || all <= 0 {
		t.Fatalf("got %d, %v, want the size of the volume", all, err)
	}
	half, err := size{percent: 50}.of(dir)
	if err != nil || half < all/2-1 || half > all/2+1 {
		t.Errorf("got %d, %v, want half of %d", half, err, all)
	}
	if _, err := (size{percent: 50}).of(dir + "/nowhere"); err == nil {
		t.Error("got no error for a directory that is not there")
	}
}

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		text string
		want time.Duration
		hint string // part of the hint; "" with want < 0 is any
	}{
		{"90s", 90 * time.Second, ""},
		{"1h30m", 90 * time.Minute, ""},
		{"7d", 7 * day, ""},
		{"1d12h", 36 * time.Hour, ""},
		{"0", 0, ""},
		{"0s", 0, ""},
		{"60", -1, "60s"},
		{"-1m", -1, ""},
		{"1d-2h", -1, ""},
		{"d", -1, ""},
		{"7days", -1, ""},
		{"99999999999999d", -1, ""},
		{"", -1, ""},
	} {
		got, err := parseDuration(c.text)
		if (err != nil) != (c.want < 0) || err == nil && got != c.want {
			t.Errorf("parseDuration(%q): got %v, %v, want %v", c.text, got, err, c.want)
		}
		var f fault
		if c.hint != "" && (!errors.As(err, &f) || !strings.Contains(f.hint, c.hint)) {
			t.Errorf("parseDuration(%q): got hint %q, want %q in it", c.text, f.hint, c.hint)
		}
	}
}

func TestParseListen(t *testing.T) {
	for _, c := range []struct {
		text, want string
		ok         bool
	}{
		{"127.0.0.1:3128", "127.0.0.1:3128", true},
		{":443", ":443", true},
		{"[::1]:5000", "[::1]:5000", true},
		{"localhost:0", "localhost:0", true},
		{"off", "", true},
		{"Off", "", true},
		{"3128", "", false},
		{"127.0.0.1", "", false},
		{":http", "", false},
		{":65536", "", false},
		{"", "", false},
		{"::1:5000", "", false},
	} {
		got, err := parseListen(c.text)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("parseListen(%q): got %q, %v, want %q", c.text, got, err, c.want)
		}
	}
}

func TestParseNet(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"10.0.0.0/8", "10.0.0.0/8"},
		{"fd00::/8", "fd00::/8"},
		{"192.168.1.7", "192.168.1.7/32"},
		{"::1", "::1/128"},
		{"10.1.2.3/8", ""},
		{"10.0.0.0/33", ""},
		{"corp.example", ""},
	} {
		got, err := parseNet(c.text)
		if (err == nil) != (c.want != "") || err == nil && got.String() != c.want {
			t.Errorf("parseNet(%q): got %v, %v, want %q", c.text, got, err, c.want)
		}
	}
}

func TestParsePortAndCount(t *testing.T) {
	for text, want := range map[string]uint16{"1": 1, "8443": 8443, "65535": 65535, "0": 0, "65536": 0, "https": 0, "-1": 0, ":443": 0, "": 0} {
		if got, err := parsePort(text); got != want || (err == nil) != (want != 0) {
			t.Errorf("parsePort(%q): got %v, %v, want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]int{"1": 1, "100000": 100000, "0": 0, "-1": 0, "1k": 0, "99999999999": 0, "": 0} {
		if got, err := parseCount(text); got != want || (err == nil) != (want != 0) {
			t.Errorf("parseCount(%q): got %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestMasked(t *testing.T) {
	for text, want := range map[string]string{
		"https://user:secret@reg.example/": "https://***@reg.example/",
		"https://a:b@c:secret@reg.example": "https://***@reg.example",
		"https://reg.example":              "https://reg.example",
		"quay.io":                          "quay.io",
	} {
		if got := masked(text); got != want {
			t.Errorf("masked(%q): got %q, want %q", text, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"max-size", "max-stale", "registry", "offline"}
	for name, want := range map[string]string{
		"max-sise": "max-size", "maxsize": "max-size", "max_size": "max-size", "registries": "registry", "registrys": "registry", "of-line": "offline", "nonsense": "",
	} {
		if got := nearest(name, names); got != want {
			t.Errorf("nearest(%q): got %q, want %q", name, got, want)
		}
	}
}
