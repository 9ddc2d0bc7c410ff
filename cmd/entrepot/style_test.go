package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The house style, as far as a program can see it. Small functions are what keeps the tree easy to enter.
const (
	maxFunction    = 80
	maxFile        = 400
	medianFunction = 12
	mostFunctions  = 50 // 95 of 100 are not longer
)

// styleExceptions may only become fewer: TestStyle fails for one that is needed no more.
func styleExceptions() map[string]string {
	return map[string]string{}
}

// style collects what TestStyle finds.
type style struct {
	found   map[string]string // what is wrong, by "file: function" or "file"
	lengths []int             // of all functions that are not tests
}

func TestStyle(t *testing.T) {
	s := style{found: map[string]string{}}
	for _, dir := range []string{"cmd", "proxy", "ca", "cache", "hosts", "bench", "testdata"} {
		for _, path := range goFiles(t, dir) {
			s.file(t, path)
		}
	}
	excused := styleExceptions()
	for where, what := range s.found {
		if excused[where] == "" {
			t.Errorf("%s: %s", where, what)
		}
	}
	for where := range excused {
		if s.found[where] == "" {
			t.Errorf("%s: is fine now, take it out of the exceptions", where)
		}
	}
	slices.Sort(s.lengths)
	if got := s.lengths[len(s.lengths)/2]; got > medianFunction {
		t.Errorf("the median function has %d lines, want at most %d", got, medianFunction)
	}
	if got := s.lengths[len(s.lengths)*95/100]; got > mostFunctions {
		t.Errorf("of 100 functions the 95th has %d lines, want at most %d", got, mostFunctions)
	}
}

// file looks at one file. A test's function may be long, since a table is; nothing else may.
func (s *style) file(t *testing.T, path string) {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, filepath.Join(top, path), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.ToSlash(path)
	isTest := strings.HasSuffix(path, "_test.go")
	if n := set.File(f.Pos()).LineCount(); n > maxFile {
		s.found[path] = fmt.Sprintf("has %d lines, want at most %d: one noun a file", n, maxFile)
	}
	s.comments(path, f)
	for _, decl := range f.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		where := path + ": " + fn.Name.Name
		if fn.Name.Name == "init" && fn.Recv == nil {
			s.found[where] = "nothing is to happen by being imported"
		}
		if isTest {
			s.sleeps(where, fn)
			continue
		}
		n := set.Position(fn.End()).Line - set.Position(fn.Pos()).Line + 1
		s.lengths = append(s.lengths, n)
		if n > maxFunction {
			s.found[where] = fmt.Sprintf("has %d lines, want at most %d", n, maxFunction)
		}
	}
}

// comments looks for work that was put off. An issue is the place for it.
func (s *style) comments(path string, f *ast.File) {
	for _, group := range f.Comments {
		for _, mark := range []string{"TO" + "DO", "FIX" + "ME", "XX" + "X"} {
			if strings.Contains(group.Text(), mark) {
				s.found[path] = "has a comment with " + mark
			}
		}
	}
}

// bubbled tells whether a test runs in a bubble of testing/synctest.
func bubbled(fn *ast.FuncDecl) bool {
	found := false
	ast.Inspect(fn, func(n ast.Node) bool {
		if x, ok := n.(*ast.Ident); ok && x.Name == "synctest" {
			found = true
		}
		return true
	})
	return found
}

// sleeps looks for tests that wait for the clock instead of for what they mean.
func (s *style) sleeps(where string, fn *ast.FuncDecl) {
	if bubbled(fn) || strings.Contains(where, "bench_test.go") {
		return // the clock of synctest moves by itself; a benchmark's upstream has a speed
	}
	ast.Inspect(fn, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" {
				s.found[where] = "sleeps: wait for an event, or use testing/synctest"
			}
		}
		return true
	})
}

// TestStylePackageDoc: each package says in 3 to 12 lines what it is for and what it does not do.
func TestStylePackageDoc(t *testing.T) {
	docs := map[string]int{}
	for _, r := range rooms() {
		for _, path := range goFiles(t, r.name) {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(top, path), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			docs[filepath.Dir(path)] += strings.Count(f.Doc.Text(), "\n")
		}
	}
	for dir, lines := range docs {
		if lines < 3 || lines > 12 {
			t.Errorf("%s: the package comment has %d lines, want 3 to 12", dir, lines)
		}
	}
}
