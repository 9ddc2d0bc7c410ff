package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/rs/zerolog"
)

// printed is what the console makes of one log line.
func printed(t *testing.T, colour bool, line string) string {
	t.Helper()
	var out bytes.Buffer
	n, err := newConsole(&out, colour).Write([]byte(line))
	if err != nil || n != len(line) {
		t.Fatalf("got %d, %v, want %d bytes taken", n, err, len(line))
	}
	return out.String()
}

const blobLine = `{"level":"info","door":"proxy","client":"127.0.0.1","method":"GET","registry":"docker.io","repo":"library/alpine",` +
	`"kind":"blob","ref":"sha256:4abcf20661432fb2d719aaf90656f55c287f8ca915dc1c92ec14ff61e67fbaf8","cache":"%s","status":%d,` +
	`"bytes":3623807,"duration_ms":12.4,"time":"2026-11-21T10:11:12.345Z"}` + "\n"

func TestConsoleRequest(t *testing.T) {
	at := time.Date(2026, 11, 21, 10, 11, 12, 0, time.UTC).Local().Format(time.TimeOnly)
	for _, c := range []struct{ name, line, want string }{
		{
			"hit", fmt.Sprintf(blobLine, "HIT", 200),
			at + "  HIT          blob       docker.io/library/alpine                  sha256:4abcf2066143    3.5 MiB     12 ms       proxy\n",
		},
		{
			"range", fmt.Sprintf(blobLine, "REVALIDATED", 206),
			at + "  REVALIDATED  blob       docker.io/library/alpine                  sha256:4abcf2066143    3.5 MiB     12 ms  206  proxy\n",
		},
		{
			"error", `{"time":"2026-11-21T10:11:12Z","cache":"BYPASS","kind":"manifest","registry":"quay.io","repo":"a/b","ref":"v1.2","status":502,"bytes":99,"duration_ms":61000,"door":"mirror","error":"no route"}`,
			at + `  BYPASS       manifest   quay.io/a/b                               v1.2                      99 B      1m1s  502  mirror  error="no route"` + "\n",
		},
		{
			"tunnel", `{"time":"2026-11-21T10:11:12Z","cache":"BYPASS","kind":"tunnel","registry":"example.com","status":200,"bytes":5000000000,"duration_ms":1.25,"door":"proxy"}`,
			at + "  BYPASS       tunnel     example.com                                                      4.7 GiB    1.2 ms       proxy\n",
		},
	} {
		if got := printed(t, false, c.line); got != c.want {
			t.Errorf("%s: got\n%swant\n%s", c.name, got, c.want)
		}
	}
}

func TestConsoleColours(t *testing.T) {
	for word, code := range map[string]string{
		"HIT": green, "MISS": yellow, "COLLAPSED": cyan, "REVALIDATED": blue, "STALE": magenta, "BYPASS": grey, "NEW": grey,
	} {
		got := printed(t, true, fmt.Sprintf(blobLine, word, 200))
		if want := "\x1b[" + code + "m" + word; !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", word, got, want)
		}
	}
}

func TestConsoleEvent(t *testing.T) {
	got := printed(t, false, `{"time":"2026-11-21T10:11:12Z","level":"warn","message":"cache: file dropped","error":"bad size","n":3,"ok":true,"empty":""}`)
	want := `  WARN   cache: file dropped  empty=""  error="bad size"  n=3  ok=true` + "\n"
	if !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want it to end in %q", got, want)
	}
}

// TestConsoleList: settings that wait for a restart are names, not escaped JSON.
func TestConsoleList(t *testing.T) {
	got := printed(t, false, `{"time":"2026-11-21T10:11:12Z","level":"warn","message":"reloaded","after_restart":["max-size","a\u001b[2J"],"none":[],"of":[1,{"a":[true]}]}`)
	want := `  WARN   reloaded  after_restart=max-size,a\x1b[2J  none=""  of="1,{\"a\":[true]}"` + "\n"
	if !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want it to end in %q", got, want)
	}
}

// TestConsoleGarbage: what is no log line is printed as it is; a log must not lose a line.
func TestConsoleGarbage(t *testing.T) {
	for _, line := range []string{"", "panic: something\n", "{broken\n", "null\n", "[1]\n", "3\n"} {
		if got := printed(t, true, line); got != line {
			t.Errorf("got %q, want %q", got, line)
		}
	}
	var full failing
	if _, err := newConsole(full, false).Write([]byte("x")); err == nil {
		t.Error("got no error from a writer that has one")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space") }

// TestConsoleEscapes: a repository name or an error from the network must not move the cursor.
func TestConsoleEscapes(t *testing.T) {
	line, err := json.Marshal(map[string]string{"cache": "MISS", "repo": "a\x1b[2Jb\nc", "error": "x\ry", "ref": "\u202e"})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.TrimSuffix(printed(t, false, string(line)), "\n")
	if i := strings.IndexFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("got %q, with a character that is not printable at %d", got, i)
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(&out, "json", "warn", false)
	log.Info().Msg("unseen")
	log.Warn().Str("k", "v").Msg("seen")
	var line map[string]string
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("got %q: %v", out.String(), err)
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000Z07:00", line["time"]); err != nil || line["message"] != "seen" || line["k"] != "v" || line["level"] != "warn" {
		t.Errorf("got %v, time error %v", line, err)
	}
	out.Reset()
	log = newLogger(&out, "console", "info", false)
	log.Info().Str("cache", "HIT").Str("kind", "blob").Msg("")
	if got := out.String(); !strings.Contains(got, "  HIT          blob") {
		t.Errorf("got %q, want columns", got)
	}
}

func BenchmarkConsole(b *testing.B) {
	line := []byte(fmt.Sprintf(blobLine, "HIT", 200))
	c := newConsole(io.Discard, true)
	for b.Loop() {
		if _, err := c.Write(line); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzConsole: one line in is one line out, without a control character but at its end.
func FuzzConsole(f *testing.F) {
	f.Add("HIT", "library/alpine", "sha256:0123456789abcdef", "boom", 1.5)
	f.Add("", "\x1b]0;title\a", ":", "\u2028", -1.0)
	f.Fuzz(func(t *testing.T, word, repo, ref, err string, n float64) {
		var line bytes.Buffer
		log := zerolog.New(&line)
		log.Info().Str("cache", word).Str("repo", repo).Str("ref", ref).Str("error", err).Float64("bytes", n).Float64("duration_ms", n).Msg(repo)
		got, ended := strings.CutSuffix(printed(t, false, line.String()), "\n")
		if i := strings.IndexFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 || !ended {
			t.Errorf("got %q, with a character that is not printable at %d", got, i)
		}
	})
}
