package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// How this program talks to people: "entrepot: what: why", then a line with the next step. Lower case,
// no full stop, everything that is wrong at once.

// hinted is an error with the next step for the one who reads it.
type hinted struct {
	err  error
	hint string
}

func (h hinted) Error() string { return h.err.Error() }
func (h hinted) Unwrap() error { return h.err }

// withHint makes an error whose next step is hint.
func withHint(hint, format string, args ...any) error {
	return hinted{fmt.Errorf(format, args...), hint}
}

// problems are all the things wrong with a configuration, in the order of the table.
type problems []error

func (ps problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "; ")
}

func (ps *problems) add(where origin, what, hint string) {
	*ps = append(*ps, hinted{fmt.Errorf("%s: %s", where, what), hint})
}

// orNil keeps an empty list from becoming an error that is not nil.
func (ps problems) orNil() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// report tells err to a person.
func report(w io.Writer, err error) {
	var all problems
	if errors.As(err, &all) {
		for _, p := range all {
			report(w, p)
		}
		return
	}
	fmt.Fprintf(w, "entrepot: %v\n", err)
	var h hinted
	if errors.As(err, &h) && h.hint != "" {
		fmt.Fprintf(w, "hint: %s\n", h.hint)
	}
}

// nearest returns the one of names that a mistyped name most likely meant, or "".
func nearest(name string, names []string) string {
	best, limit := "", min(3, len(name)) // as many slips of the finger are another word
	for _, n := range names {
		if n == singular(strings.ReplaceAll(name, "_", "-")) {
			return n
		}
		if d := distance(name, n); d < limit {
			best, limit = n, d
		}
	}
	return best
}

func singular(name string) string {
	if stem, ok := strings.CutSuffix(name, "ies"); ok {
		return stem + "y"
	}
	return strings.TrimSuffix(name, "s")
}

// distance is Levenshtein's: how many letters must be put in, taken out or changed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
