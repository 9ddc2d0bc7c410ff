package hosts

import (
	"errors"
	"fmt"
	"strings"
)

// The patterns of a tag rule are matched as they are written, without a form
// compiled before: a registry stays a plain value, and names are short. Text
// that no check has seen is matched too, somehow; it cannot do harm.

// matchRepo compares a repository's name element by element. "**" takes none
// at first; on a mismatch the last one takes one more, as "*" does in
// matchGlob, so the work is bounded by the product of the lengths.
func matchRepo(pattern, repo string) bool {
	p, r := 0, 0 // where the next elements begin, behind the end when none is left
	retryP, retryR := -1, 0
	for r <= len(repo) {
		want, nextP := element(pattern, p)
		if want == "**" {
			p, retryP, retryR = nextP, nextP, r
			continue
		}
		have, nextR := element(repo, r)
		if p <= len(pattern) && matchGlob(want, have) {
			p, r = nextP, nextR
			continue
		}
		if retryP < 0 {
			return false
		}
		_, retryR = element(repo, retryR)
		p, r = retryP, retryR
	}
	return onlyStars(pattern, p)
}

// onlyStars tells whether the rest of a pattern does without any element.
func onlyStars(pattern string, p int) bool {
	for p <= len(pattern) {
		want, next := element(pattern, p)
		if want != "**" {
			return false
		}
		p = next
	}
	return true
}

// element returns the element of a path that begins at from, and where the next
// one does.
func element(path string, from int) (string, int) {
	if from > len(path) {
		return "", from
	}
	if slash := strings.IndexByte(path[from:], '/'); slash >= 0 {
		return path[from : from+slash], from + slash + 1
	}
	return path[from:], len(path) + 1
}

// matchGlob compares a tag, or one element of a repository's name.
func matchGlob(glob, s string) bool {
	g, i := 0, 0
	retryG, retryI := -1, 0
	for i < len(s) {
		if g < len(glob) && glob[g] == '*' {
			g++
			retryG, retryI = g, i
			continue
		}
		if size := matchOne(glob[g:], s[i]); size > 0 {
			g, i = g+size, i+1
			continue
		}
		if retryG < 0 {
			return false
		}
		retryI++
		g, i = retryG, retryI
	}
	return strings.Trim(glob[g:], "*") == ""
}

// matchOne returns the length of the piece that glob begins with, when that
// piece takes c, else 0.
func matchOne(glob string, c byte) int {
	switch {
	case glob == "":
		return 0
	case glob[0] == '[':
		body, negated, size := class(glob)
		if size > 0 && inClass(body, c) != negated {
			return size
		}
	case glob[0] == '?' || glob[0] == c:
		return 1
	}
	return 0
}

// class takes the "[a-z]" or "[!a-z]" that glob begins with apart; the size is
// 0 when it has no end. Go writes the negation as "^" and the shell as "!".
func class(glob string) (body string, negated bool, size int) {
	end := strings.IndexByte(glob, ']')
	if end < 0 {
		return "", false, 0
	}
	body = glob[1:end]
	if body != "" && (body[0] == '!' || body[0] == '^') {
		return body[1:], true, end + 1
	}
	return body, false, end + 1
}

func inClass(body string, c byte) bool {
	for body != "" {
		low, high, size := classRange(body)
		if low <= c && c <= high {
			return true
		}
		body = body[size:]
	}
	return false
}

// classRange reads the "a-z" or the "a" that a class begins with. A "-" at
// either end stands for itself.
func classRange(body string) (low, high byte, size int) {
	if len(body) > 2 && body[1] == '-' {
		return body[0], body[2], 3
	}
	return body[0], body[0], 1
}

// kind is what a pattern is about, for the check and its messages.
type kind struct {
	what  string // "a tag"
	signs string // what may be in it beside lower-case letters and digits
	first string // those of them that it may begin with
}

// tagKind and repoKind follow the grammar of the OCI distribution spec, which
// the proxy holds every name against: a pattern outside it matches nothing.
func tagKind() kind {
	const upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	return kind{"a tag", upper + "_.-", upper + "_"}
}

func repoKind() kind { return kind{"an element of a repository's name", "_.-", ""} }

func (k kind) has(c byte) bool { return isLowerOrDigit(c) || strings.IndexByte(k.signs, c) >= 0 }

func (k kind) beginsWith(c byte) bool {
	return isLowerOrDigit(c) || strings.IndexByte(k.first, c) >= 0
}

func isLowerOrDigit(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// checkRepo judges the pattern of a repository.
func checkRepo(pattern string) error {
	if strings.ContainsAny(pattern, ":@") {
		return errors.New("holds a tag or a port: write the repository's name only, and tags apart")
	}
	if strings.ToLower(pattern) != pattern {
		return fmt.Errorf("matches nothing, names of repositories are lower case: write %q", strings.ToLower(pattern))
	}
	for elem := range strings.SplitSeq(pattern, "/") {
		switch {
		case elem == "**":
		case elem == "":
			return fmt.Errorf("has an empty element: write %q", tidied(pattern))
		case strings.Contains(elem, "**"):
			return fmt.Errorf(`has "**" inside %q: it stands for whole elements, write * or **/*`, elem)
		default:
			if err := checkGlob(elem, repoKind()); err != nil {
				return err
			}
		}
	}
	return nil
}

// tidied is a path without the slashes that are too many.
func tidied(path string) string {
	return strings.Join(strings.FieldsFunc(path, func(c rune) bool { return c == '/' }), "/")
}

// checkGlob judges a pattern that is not empty. What can match nothing is an
// error too, since a rule that never acts is found only when it is missed.
func checkGlob(glob string, k kind) error {
	if c := glob[0]; k.has(c) && !k.beginsWith(c) {
		return fmt.Errorf("matches nothing, %s does not begin with %q: a pattern is no regular expression, * alone stands for any characters", k.what, c)
	}
	for glob != "" {
		size := 1
		switch c := glob[0]; {
		case c == '*' || c == '?' || k.has(c):
		case c == '[':
			var err error
			if size, err = checkClass(glob, k); err != nil {
				return err
			}
		default:
			return notIn(k, c)
		}
		glob = glob[size:]
	}
	return nil
}

func notIn(k kind, c byte) error {
	return fmt.Errorf("%q cannot be in %s: a rule has one pattern, of *, ? and classes such as [0-9]", c, k.what)
}

// checkClass judges the class that glob begins with.
func checkClass(glob string, k kind) (size int, err error) {
	body, _, size := class(glob)
	if body == "" {
		return 0, fmt.Errorf("has no class in %q: write it as [0-9], [abc] or [!a-z]", glob)
	}
	for body != "" {
		low, high, n := classRange(body)
		switch {
		case !k.has(low):
			return 0, notIn(k, low)
		case !k.has(high):
			return 0, notIn(k, high)
		case low > high:
			return 0, fmt.Errorf("has the range %c-%c, which is empty: write %c-%c", low, high, high, low)
		}
		body = body[n:]
	}
	return size, nil
}
