package http1

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/testdata/world/served"
)

// FuzzAnswer: whatever a handler does, a client and the handler itself see the same of it as with net/http.
func FuzzAnswer(f *testing.F) {
	for _, steps := range []string{"", "w\x05", "l\x05w\x05", "sw\x10fw\x20", "l\x09w\x05", "tW\x05f", "r\x40r\x02", "hsw\x01", "cw\x01", "nw\x01", "l\x05sr\x05w\x01", "aw\x01ew\x02a", "W\x09W\x01", "g", "gsfl\x05"} {
		for _, head := range []bool{false, true} {
			f.Add([]byte(steps), head)
		}
	}
	var notes served.Lines
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		steps, _ := hex.DecodeString(r.Header.Get("Steps"))
		fmt.Fprintln(&notes, "status", play(w, bytes.NewBuffer(steps), &notes))
	})
	ours, theirs := open(f, false, h), openTheirs(f, false, h)
	f.Fuzz(func(t *testing.T, steps []byte, head bool) {
		if len(steps) > 100 {
			return
		}
		r := row{fields: "Steps: " + hex.EncodeToString(steps) + "\r\n"}
		if head {
			r.method = http.MethodHead
		}
		var both [2]seen
		for i, d := range []*door{ours, theirs} {
			notes.Take()
			both[i] = d.ask(t, "", r)
			both[i].Notes = notes.Take()
		}
		if !reflect.DeepEqual(both[0], both[1]) {
			t.Errorf("%q: got\n%.600q, want\n%.600q", steps, fmt.Sprint(both[0]), fmt.Sprint(both[1]))
		}
	})
}

// play has a handler do what the steps say, of which some have an argument. A status goes out once.
func play(w http.ResponseWriter, steps *bytes.Buffer, notes io.Writer) (status int) {
	argument := func() int {
		b, _ := steps.ReadByte()
		return int(b)
	}
	text := strings.Repeat("<html>", 256*200/6+1)
	final := func(code int) {
		if status == 0 {
			status = code
			w.WriteHeader(code)
		}
	}
	for {
		step, err := steps.ReadByte()
		if err != nil {
			return status
		}
		switch step {
		case 'w':
			final(http.StatusOK)
			fmt.Fprintln(notes, errOf(w.Write([]byte(text[:argument()]))))
		case 'W':
			status = 200
			fmt.Fprintln(notes, errOf(w.Write([]byte(text[:200*argument()]))))
		case 'r':
			fmt.Fprintln(notes, errOf(io.Copy(w, strings.NewReader(text[:200*argument()]))))
			status = 200
		case 'f':
			status = 200
			fmt.Fprintln(notes, http.NewResponseController(w).Flush())
		case 'l':
			w.Header().Set("Content-Length", strconv.Itoa(argument()))
		case 'L':
			w.Header().Set("Content-Length", strconv.Itoa(200*argument()))
		case 't':
			w.Header().Set("Content-Type", "a/b")
		case 'e':
			w.Header().Set("Content-Encoding", "gzip")
		case 'a':
			w.Header().Add("A", strconv.Itoa(argument()))
		case 'c':
			w.Header().Set("Connection", "close")
		case 's':
			final(http.StatusOK)
		case 'm':
			final(http.StatusNotFound)
		case 'n':
			final(http.StatusNoContent)
		case 'h':
			final(http.StatusNotModified)
		case 'g':
			if status == 0 {
				w.WriteHeader(http.StatusEarlyHints)
			}
		}
	}
}

// errOf is what counts of a write: how much of it is a matter of buffers.
func errOf[N int | int64](_ N, err error) error { return err }
