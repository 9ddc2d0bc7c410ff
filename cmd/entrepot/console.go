package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
)

// console turns the JSON lines of the log into columns that a person can read while an image is pulled.
// A request line begins with the time and the cache word, so that `grep HIT` and `grep quay.io` work.
// What is not a JSON object is printed as it is: a log must not lose a line.
type console struct {
	w      io.Writer
	colour bool
}

func newConsole(w io.Writer, colour bool) console { return console{w, colour} }

// Write takes one line of the log and writes one line, in one Write, so that lines do not mix.
func (c console) Write(line []byte) (int, error) {
	out := line
	if text, ok := c.line(line); ok {
		out = []byte(text)
	}
	if _, err := c.w.Write(out); err != nil {
		return 0, err
	}
	return len(line), nil
}

func (c console) line(line []byte) (string, bool) {
	var f fields
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber() // 1.5e+06 bytes would not do
	if err := decoder.Decode(&f); err != nil || f == nil {
		return "", false
	}
	if f.text("cache") == "" {
		return c.event(f), true
	}
	return c.request(f), true
}

// The ANSI colours, by what they mean here.
const (
	red     = "31"
	green   = "32"
	yellow  = "33"
	blue    = "34"
	magenta = "35"
	cyan    = "36"
	grey    = "90"
)

func cacheColour(word string) string {
	switch word {
	case "HIT":
		return green
	case "MISS":
		return yellow
	case "COLLAPSED":
		return cyan
	case "REVALIDATED":
		return blue
	case "STALE":
		return magenta
	}
	return grey
}

// request is the line of one request: columns wide enough that they stand below each other for nearly
// all images, and never cut.
func (c console) request(f fields) string {
	columns := []string{
		f.clock(),
		c.paint(cacheColour(f.text("cache")), fmt.Sprintf("%-11s", f.text("cache"))),
		fmt.Sprintf("%-9s", f.text("kind")),
		fmt.Sprintf("%-40s", f.image()),
		fmt.Sprintf("%-19s", shortRef(f.text("ref"))),
		fmt.Sprintf("%9s", humanBytes(f.number("bytes"))),
		fmt.Sprintf("%8s", humanDuration(f.number("duration_ms"))),
		c.status(f.text("status")),
		c.paint(grey, f.text("door")),
	}
	if err := f.text("error"); err != "" {
		columns = append(columns, c.paint(red, "error="+strconv.Quote(err)))
	}
	return strings.TrimRight(strings.Join(columns, "  "), " ") + "\n"
}

// event is any other line: time, level, message, and the rest as key=value.
func (c console) event(f fields) string {
	level := f.text("level")
	colour := ""
	switch level {
	case "error", "fatal", "panic":
		colour = red
	case "warn":
		colour = yellow
	}
	parts := []string{f.clock(), c.paint(colour, fmt.Sprintf("%-5s", strings.ToUpper(level))), f.text("message")}
	for _, key := range slices.Sorted(maps.Keys(f)) {
		if !slices.Contains([]string{"time", "level", "message"}, key) {
			parts = append(parts, c.paint(grey, key+"=")+quoted(f.text(key)))
		}
	}
	return strings.Join(parts, "  ") + "\n"
}

// status is empty when all is well, and three columns wide in any case.
func (c console) status(code string) string {
	switch {
	case code == "200" || code == "0":
		return "   "
	case code >= "400":
		return c.paint(red, fmt.Sprintf("%3s", code))
	}
	return fmt.Sprintf("%3s", code)
}

func (c console) paint(colour, text string) string {
	if !c.colour || colour == "" || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// fields is one line of the log, parsed.
type fields map[string]any

// text is a field for a terminal. Names, tags and user agents come from the network, and a control
// character among them could rewrite what the reader sees.
func (f fields) text(key string) string {
	switch v := f[key].(type) {
	case nil:
		return ""
	case string:
		return printable(v)
	case json.Number:
		return v.String()
	case []any:
		return f.list(v)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return printable(string(b))
	}
}

// list is a field of several words, as they would be written for a flag.
func (f fields) list(values []any) string {
	var words []string
	for _, v := range values {
		words = append(words, fields{"": v}.text(""))
	}
	return strings.Join(words, ",")
}

func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	return strings.Trim(strconv.Quote(s), `"`)
}

func quoted(s string) string {
	if s == "" || strings.ContainsAny(s, ` "=`) {
		return strconv.Quote(s)
	}
	return s
}

func (f fields) number(key string) float64 {
	n, _ := f[key].(json.Number)
	v, err := n.Float64()
	if err != nil {
		return 0
	}
	return v
}

// clock is the time of day: whoever reads along knows the date.
func (f fields) clock() string {
	t, err := time.Parse(time.RFC3339Nano, f.text("time"))
	if err != nil {
		return fmt.Sprintf("%-8s", f.text("time"))
	}
	return t.Local().Format(time.TimeOnly)
}

// image is the registry and the repository, as in an image's name.
func (f fields) image() string {
	if repo := f.text("repo"); repo != "" {
		return f.text("registry") + "/" + repo
	}
	return f.text("registry")
}

// shortRef cuts a digest as docker does; a tag stays whole.
func shortRef(ref string) string {
	algorithm, hex, isDigest := strings.Cut(ref, ":")
	if !isDigest || len(hex) <= 12 {
		return ref
	}
	return algorithm + ":" + hex[:12]
}

func humanBytes(n float64) string { return humanize.IBytes(uint64(max(0, n))) }

func humanDuration(ms float64) string {
	switch {
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	case ms < 60_000:
		return fmt.Sprintf("%.1f s", ms/1000)
	}
	return (time.Duration(ms) * time.Millisecond).Round(time.Second).String()
}
