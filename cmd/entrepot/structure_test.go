package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The shape of the tree, held by tests: which room may know which, and what each may bring in from
// outside. A new dependency is a decision, and this is where it is written down.

const (
	module = "github.com/entrepot/entrepot"
	top    = "../.."
)

// room is one of the fixed packages, with those below it.
type room struct {
	name    string
	ours    []string // rooms it may know
	foreign []string // modules it may use
	never   []string // packages of the standard library it may not
}

func rooms() []room {
	const (
		lru, sync = "github.com/hashicorp/golang-lru/v2", "golang.org/x/sync"
		humanize  = "github.com/dustin/go-humanize" // sizes in messages
	)
	return []room{
		{"hosts", nil, []string{"github.com/miekg/dns", "github.com/google/renameio/v2", lru, sync, "golang.org/x/sys"}, []string{"net/http"}},
		{"ca", nil, []string{lru, "github.com/google/renameio/v2", "github.com/youmark/pkcs8", sync}, nil},
		{"cache", nil, []string{lru, sync, humanize, "golang.org/x/sys"}, []string{"net/http"}},
		{
			"proxy",
			[]string{"hosts", "ca", "cache"},
			[]string{
				"github.com/elazarl/goproxy", "github.com/rs/zerolog", sync, lru, "github.com/prometheus/client_golang", "golang.org/x/crypto/bcrypt",
				"github.com/prometheus/client_model", "google.golang.org/protobuf", // what client_golang gathers, and its numbers
				"github.com/pires/go-proxyproto",
				"github.com/caddyserver/certmagic", "github.com/mholt/acmez/v3", "go.uber.org/zap",
				"golang.org/x/sys",                                         // one socket option
				"golang.org/x/net/http2", "golang.org/x/net/http/httpguts", // frames, header blocks, and what may be in a field
			},
			nil,
		},
		{
			"cmd",
			[]string{"hosts", "ca", "cache", "proxy"},
			[]string{
				"github.com/urfave/cli/v2", "github.com/rs/zerolog", "go.yaml.in/yaml/v3", "golang.org/x/term",
				"golang.org/x/crypto/x509roots/fallback", humanize,
			},
			nil,
		},
		// bench measures the program from outside, as it measures the others.
		{"bench", nil, []string{sync, "golang.org/x/sys"}, nil},
	}
}

// TestStructureImports: the leaves know nothing of ours, and nobody knows more than the design says.
func TestStructureImports(t *testing.T) {
	for _, r := range rooms() {
		for _, path := range goFiles(t, r.name) {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			for _, imported := range importsOf(t, path) {
				if why := r.refuses(imported); why != "" {
					t.Errorf("%s: imports %s: %s", path, imported, why)
				}
			}
		}
	}
}

// refuses says why a room may not import a package, or "".
func (r room) refuses(imported string) string {
	first, _, _ := strings.Cut(imported, "/")
	own, isOurs := strings.CutPrefix(imported, module+"/")
	switch {
	case isOurs:
		own, _, _ = strings.Cut(own, "/")
		if own != r.name && !slices.Contains(r.ours, own) {
			return r.name + " may know only " + strings.Join(r.ours, ", ") + " of our rooms"
		}
	case !strings.Contains(first, "."):
		if slices.Contains(r.never, imported) {
			return r.name + " is to know nothing of it"
		}
	case !slices.ContainsFunc(r.foreign, func(m string) bool { return imported == m || strings.HasPrefix(imported, m+"/") }):
		return "not on the list of what " + r.name + " may use"
	}
	return ""
}

// TestStructureKept: one file knows each of these, so that its traps are in one place and it can be replaced.
func TestStructureKept(t *testing.T) {
	for module, file := range map[string]string{
		"github.com/elazarl/goproxy":       "proxy/connect.go",
		"github.com/pires/go-proxyproto":   "proxy/balancer.go",
		"github.com/caddyserver/certmagic": "proxy/acme/acme.go",
	} {
		var users []string
		for _, r := range rooms() {
			for _, path := range goFiles(t, r.name) {
				if !strings.HasSuffix(path, "_test.go") && slices.Contains(importsOf(t, path), module) {
					users = append(users, filepath.ToSlash(path))
				}
			}
		}
		if !slices.Equal(users, []string{file}) {
			t.Errorf("%s is imported by %v, want %s", module, users, file)
		}
	}
}

// TestStructureTop: what is fixed at the top is there, and no other package beside it.
func TestStructureTop(t *testing.T) {
	for _, name := range []string{"cmd", "proxy", "ca", "cache", "hosts", "testdata", "Dockerfile", "go.mod", "Makefile"} {
		if _, err := os.Stat(filepath.Join(top, name)); err != nil {
			t.Errorf("fixed top level: %v", err)
		}
	}
	entries, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	known := []string{"testdata"}
	for _, r := range rooms() {
		known = append(known, r.name)
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") || slices.Contains(known, e.Name()) {
			continue
		}
		if files := goFiles(t, e.Name()); len(files) > 0 {
			t.Errorf("%s holds Go files (%s): a new room needs a place in the design", e.Name(), files[0])
		}
	}
}

var linkPattern = regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)

// TestStructureLinks: what a document of the project points to is there.
func TestStructureLinks(t *testing.T) {
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		docs, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range docs {
			content, err := os.ReadFile(doc)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range linkPattern.FindAllStringSubmatch(string(content), -1) {
				if strings.Contains(m[1], ":") {
					continue // another site
				}
				if _, err := os.Stat(filepath.Join(filepath.Dir(doc), m[1])); err != nil {
					t.Errorf("%s: the link leads nowhere: %v", doc, err)
				}
			}
		}
	}
}

// goFiles are the Go files below a directory at the top, by their path from there.
func goFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(filepath.Join(top, dir), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") {
			path, err = filepath.Rel(top, path)
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func importsOf(t *testing.T, path string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(top, path), nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, spec := range f.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, name)
	}
	return list
}
