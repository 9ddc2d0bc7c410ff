package main

import (
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"
)

// newLogger makes the program's log. format is "json" or "console"; level has been judged.
func newLogger(w io.Writer, format, level string, colour bool) zerolog.Logger {
	if format == "console" {
		w = newConsole(w, colour)
	}
	l, err := zerolog.ParseLevel(level)
	if err != nil {
		l = zerolog.InfoLevel
	}
	return zerolog.New(w).Level(l).Hook(&clock{now: time.Now})
}

// clock stamps each line. zerolog's own stamp has whole seconds unless a variable of the package is
// changed, and two lines of one pull are milliseconds apart.
type clock struct {
	now    func() time.Time
	second atomic.Pointer[stamp] // of the last line
}

// stamp is the text of a second, of which a busy log has thousands of lines: made anew for each, it was a fiftieth of the CPU time of a
// manifest hit.
type stamp struct {
	unix       int64
	text, zone string // before and behind the milliseconds
}

// Run implements zerolog.Hook.
func (c *clock) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	now := c.now()
	s := c.second.Load()
	if s == nil || s.unix != now.Unix() {
		s = &stamp{now.Unix(), now.Format(`"2006-01-02T15:04:05.`), now.Format(`Z07:00"`)}
		c.second.Store(s)
	}
	ms := now.Nanosecond() / int(time.Millisecond)
	line := append(make([]byte, 0, 40), s.text...)
	line = append(line, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
	e.RawJSON(zerolog.TimestampFieldName, append(line, s.zone...))
}

// logFormat is what was asked for, or what suits the reader.
func (p program) logFormat(c config) string {
	switch {
	case c.LogFormat != "":
		return c.LogFormat
	case isTerminal(p.stdout):
		return "console"
	}
	return "json"
}

// colour follows https://no-color.org.
func (p program) colour() bool {
	return isTerminal(p.stdout) && newEnvironment(p.environ)["NO_COLOR"] == ""
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
