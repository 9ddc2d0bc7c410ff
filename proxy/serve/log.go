package serve

import (
	"log"
	"net/http"
	"runtime/debug"
)

// Log is where a server says what handlers do wrong.
type Log struct{ *log.Logger } // nil: the standard logger

// Wrong says it.
func (l Log) Wrong(format string, args ...any) {
	if l.Logger == nil {
		log.Printf(format, args...)
		return
	}
	l.Printf(format, args...)
}

// Panic says that a handler has panicked, if what was recovered is one and not the polite way to cut an answer.
func (l Log) Panic(remote string, recovered any) {
	if recovered != nil && recovered != http.ErrAbortHandler {
		l.Wrong("http: panic serving %s: %v\n%s", remote, recovered, debug.Stack())
	}
}
