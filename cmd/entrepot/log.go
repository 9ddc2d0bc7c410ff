package main

import (
	"io"
	"os"
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
	return zerolog.New(w).Level(l).Hook(clock{time.Now})
}

// clock stamps each line. zerolog's own stamp has whole seconds unless a variable of the package is
// changed, and two lines of one pull are milliseconds apart.
type clock struct{ now func() time.Time }

const stampFormat = "2006-01-02T15:04:05.000Z07:00"

func (c clock) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, c.now().Format(stampFormat))
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
