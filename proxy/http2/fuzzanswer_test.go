package http2

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/testdata/world/served"
)

// FuzzAnswer: whatever a handler does, a client and the handler itself see the same of it as with net/http.
func FuzzAnswer(f *testing.F) {
	for _, steps := range []string{"", "w\x05", "l\x05w\xc8", "l\x7dW\x05W\x14", "W\x05W\x14", "sw\x10fw\x20", "tW\x05f", "hsw\x01", "nw\x01", "l\x05sw\x05", "aw\x01ew\x02a", "W\x09W\x01", "g", "gsfl\x05"} {
		for _, head := range []bool{false, true} {
			f.Add([]byte(steps), head)
		}
	}
	var notes served.Lines
	done := make(chan bool, 1) // a client may have all of an answer before its handler ends
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { done <- true }()
		steps, _ := hex.DecodeString(r.Header.Get("Steps"))
		play(w, bytes.NewBuffer(steps), &notes)
	})
	ours, theirs := open(f, h), openTheirs(f, h)
	f.Fuzz(func(t *testing.T, steps []byte, head bool) {
		if len(steps) > 100 {
			return
		}
		r := row{header: http.Header{"Steps": {hex.EncodeToString(steps)}}}
		if head {
			r.method = http.MethodHead
		}
		var both [2]seen
		for i, d := range []*door{ours, theirs} {
			notes.Take()
			both[i] = d.ask(t, "", r)
			served.Hear(t, "the handler's end", done)
			if said := notes.Take(); !head { // where net/http tells a handler now and then that it has not written what nobody gets
				both[i].Notes = said
			}
			if both[i].Cut { // an answer that is shorter than announced, of which net/http sends what there is
				both[i] = seen{Cut: true}
			}
		}
		differ(t, both)
	})
}

// play has a handler do what the steps say, of which some have an argument.
func play(w http.ResponseWriter, steps *bytes.Buffer, notes io.Writer) {
	argument := func() int {
		b, _ := steps.ReadByte()
		return int(b)
	}
	text := strings.Repeat("<html>", 256*200/6+1)
	status, announced, wrote := 0, -1, 0
	write := func(n int) {
		if announced >= 0 { // more than that is another matter: net/http finds it out late
			n = min(n, announced-wrote)
		}
		wrote += n
		_, err := w.Write([]byte(text[:n]))
		fmt.Fprintln(notes, err != nil)
	}
	final := func(code int) {
		if status == 0 {
			status = code
			w.WriteHeader(code)
		}
	}
	for {
		step, err := steps.ReadByte()
		if err != nil {
			return
		}
		switch step {
		case 'w':
			final(http.StatusOK)
			write(argument())
		case 'W':
			status = max(status, 200)
			write(200 * argument())
		case 'f':
			status = max(status, 200)
			http.NewResponseController(w).Flush() // net/http's has errors of its own for HEAD
		case 'l':
			n := 40 * argument()
			w.Header().Set("Content-Length", strconv.Itoa(n))
			if status == 0 {
				announced = n
			}
		case 't':
			w.Header().Set("Content-Type", "a/b")
		case 'e':
			w.Header().Set("Content-Encoding", "gzip")
		case 'a':
			w.Header().Add("A", strconv.Itoa(argument()))
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
