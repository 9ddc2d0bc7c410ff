package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"

	"github.com/entrepot/entrepot/ca"
)

// What the README and docs/ say is held against the program: a page that was right once is worse than none. Blocks that need real
// clients have a comment `<!-- e2e: NAME [FILE] -->` before them, by which the end-to-end tests find them.

// block is a fenced block of a page.
type block struct {
	at   string // "README.md:12"
	tag  string // of the comment on the line before it: "transcript", "config", "e2e: docker-mirror /etc/docker/daemon.json"
	lang string
	text string
}

func pages(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(top, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	return append(list, filepath.Join(top, "README.md"), filepath.Join(top, "CHANGELOG.md"))
}

func page(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var tagPattern = regexp.MustCompile(`^<!-- (.+) -->$`)

// blocksOf are the fenced blocks of one page.
func blocksOf(t *testing.T, path string) []block {
	t.Helper()
	var found []block
	var open *block
	before := ""
	for i, line := range strings.Split(page(t, path), "\n") {
		lang, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{at: fmt.Sprintf("%s:%d", filepath.Base(path), i+1), lang: lang}
			if m := tagPattern.FindStringSubmatch(before); m != nil {
				open.tag = m[1]
			}
		case fence:
			found = append(found, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
		before = line
	}
	if open != nil {
		t.Fatalf("%s: is not closed", open.at)
	}
	return found
}

func allBlocks(t *testing.T) []block {
	t.Helper()
	var all []block
	for _, path := range pages(t) {
		all = append(all, blocksOf(t, path)...)
	}
	return all
}

// TestReadmeBlocks: what is to be copied into a file can be read by whom it is for.
func TestReadmeBlocks(t *testing.T) {
	check := map[string]func(string) error{
		"json":    func(s string) error { return json.Unmarshal([]byte(s), new(any)) },
		"toml":    func(s string) error { _, err := toml.Decode(s, new(any)); return err },
		"yaml":    yamlFault,
		"ini":     iniFault,
		"sh":      shellFault,
		"console": func(string) error { return nil }, // TestReadmeTranscript
	}
	tags := map[string]bool{}
	for _, b := range allBlocks(t) {
		f, ok := check[b.lang]
		if !ok {
			t.Errorf("%s: nothing checks a block of %q", b.at, b.lang)
			continue
		}
		if err := f(b.text); err != nil {
			t.Errorf("%s: %v", b.at, err)
		}
		if strings.HasPrefix(b.tag, "e2e: ") && tags[b.tag] {
			t.Errorf("%s: another block is tagged %q too", b.at, b.tag)
		}
		tags[b.tag] = true
	}
}

func yamlFault(text string) error {
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		if err := d.Decode(new(yaml.Node)); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// iniFault knows as much of systemd's files as we write in them.
func iniFault(text string) error {
	line := regexp.MustCompile(`^(\[[A-Z][a-z]+\]|[A-Z][A-Za-z]+="?[^"]+"?)$`)
	for s := range strings.Lines(text) {
		if s = strings.TrimSpace(s); s != "" && !line.MatchString(s) {
			return fmt.Errorf("no section and no setting: %q", s)
		}
	}
	return nil
}

func shellFault(text string) error {
	cmd := exec.Command("sh", "-n")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// commandsOf are the commands of all shell blocks, and those that stand in a line of text, by where they are.
func commandsOf(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	add := func(at, text string) {
		for _, part := range strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n") {
			for _, one := range strings.Split(part, "&&") {
				one = strings.TrimPrefix(strings.TrimSpace(one), "$ ")
				found[at] = append(found[at], strings.TrimPrefix(one, "sudo "))
			}
		}
	}
	for _, b := range allBlocks(t) {
		if b.lang == "sh" {
			add(b.at, b.text)
		}
		if first, _, _ := strings.Cut(b.text, "\n"); b.lang == "console" {
			add(b.at, first)
		}
	}
	for _, path := range pages(t) {
		for _, m := range codeSpan.FindAllStringSubmatch(page(t, path), -1) {
			add(filepath.Base(path)+": `"+m[1]+"`", m[1])
		}
	}
	return found
}

var codeSpan = regexp.MustCompile("`([^`\n]+)`")

// TestReadmeCommands: the program takes each of its commands that a page shows, and make knows its targets.
func TestReadmeCommands(t *testing.T) {
	makefile := page(t, filepath.Join(top, "Makefile"))
	dir := dataDirWithCA(t)
	path, _ := onPath(t, "chroot", "") // what `ca install` runs in a tree
	seen := 0
	for at, commands := range commandsOf(t) {
		for _, text := range commands {
			words := strings.Fields(text)
			switch {
			case len(words) < 2:
			case words[0] == "make":
				seen++
				if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(words[1]) + `:`).MatchString(makefile) {
					t.Errorf("%s: make has no target %q", at, words[1])
				}
			case words[0] == "entrepot" && !strings.ContainsAny(text, "…|"):
				seen++
				_, stderr, code := output(t, []string{"ENTREPOT_DATA_DIR=" + dir, path}, harmless(t, words[1:])...)
				if code != 0 {
					t.Errorf("%s: %s: got exit code %d, want 0\n%s", at, text, code, stderr)
				}
			}
		}
	}
	if seen < 12 {
		t.Errorf("got %d commands to check, want more: are they still found?", seen)
	}
}

// harmless is a command that judges the same words and changes nothing of this machine.
func harmless(t *testing.T, words []string) []string {
	switch words[0] {
	case "serve":
		words = append([]string{"config", "check"}, words[1:]...)
		if i := slices.Index(words, "/etc/entrepot/htpasswd"); i >= 0 {
			words[i] = file(t, "htpasswd", user(t, "ada", "secret"))
		}
		return words
	case "hosts":
		if len(words) < 3 {
			return []string{"hosts", "--help"} // in a sentence, without names
		}
		return append([]string{"hosts", words[1], "--file", file(t, "hosts", "127.0.0.1 localhost\n"), "--dry-run"}, words[2:]...)
	case "ca":
		return harmlessCA(t, words)
	}
	return words
}

// harmlessCA runs what changes a CA in directories of its own, where it is the next step.
func harmlessCA(t *testing.T, words []string) []string {
	for i, w := range words {
		switch w {
		case "entrepot.crt": // exported before, or now
			words[i] = filepath.Join(dataDirWithCA(t), "ca", "ca.crt")
		case "/mnt/image":
			words[i] = systemTree(t, anchorKinds()[0], anchorKinds()[0].tool)
		}
	}
	var before []string
	switch strings.Join(words, " ") {
	case "ca init", "ca init --constrain":
		return append(words, "--data-dir", t.TempDir())
	case "ca rotate --switch":
		before = []string{""}
	case "ca rotate --back", "ca rotate --finish":
		before = []string{"", "--switch"}
	}
	switch words[1] {
	case "rotate":
		dir := dataDirWithCA(t)
		for _, step := range before {
			ran(t, slices.DeleteFunc([]string{"ca", "rotate", "--data-dir", dir, step}, func(s string) bool { return s == "" })...)
		}
		return append(words, "--data-dir", dir)
	case "install":
		if !slices.Contains(words, "--root") {
			words = append(words, "--root", systemTree(t, anchorKinds()[0], anchorKinds()[0].tool))
		}
	}
	return words
}

func dataDirWithCA(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := ca.Open(ca.Config{Dir: filepath.Join(dir, "ca")}); err != nil {
		t.Fatal(err)
	}
	return dir
}

var helpLine = regexp.MustCompile(`(?m)^ +--([a-z-]+)(?: ([A-Z]+))? {2,}(.*) \[\$(ENTREPOT_[A-Z_]+)\]( \(repeatable\))?(?: \(default: (.*)\))?$`)

// TestReadmeSettings: the table of settings says what `entrepot serve --help` says.
func TestReadmeSettings(t *testing.T) {
	help, _, _ := output(t, nil, "serve", "--help")
	var want strings.Builder
	for _, m := range helpLine.FindAllStringSubmatch(help, -1) {
		want.WriteString(settingRow(t, m[1], m[2], m[3], m[4], m[5], m[6]))
	}
	if rows := strings.Count(want.String(), "\n"); rows != len(settings(nil)) {
		t.Fatalf("got %d settings from the help text, want %d:\n%s", rows, len(settings(nil)), help)
	}
	_, rest, _ := strings.Cut(page(t, filepath.Join(top, "README.md")), "<!-- settings -->\n")
	table, _, _ := strings.Cut(rest, "\n\n")
	lines := strings.SplitAfterN(table+"\n", "\n", 3)
	if got := lines[len(lines)-1]; got != want.String() {
		t.Errorf("the table behind <!-- settings --> is not what the help says; want\n%s", want.String())
	}
}

func settingRow(t *testing.T, name, value, usage, env, repeatable, preset string) string {
	key := "`" + name + "`"
	switch name {
	case "config":
		key = "–"
	case "data-dir":
		preset = "as root /var/lib/entrepot, else ~/.local/share/entrepot"
	}
	if preset == "" {
		preset = "none"
	}
	return fmt.Sprintf("| `%s` | `%s` | %s | %s | %s%s |\n", strings.TrimSpace("--"+name+" "+value), env, key, preset, usage, repeatable)
}

// TestReadmeNames: each flag and each variable that a page names exists.
func TestReadmeNames(t *testing.T) {
	known := map[string]bool{"--help": true, "--dry-run": true, "--ip": true, "--file": true}
	for _, c := range (program{}).caCommand(commandLine{}, nil).Subcommands {
		for _, f := range c.Flags {
			known["--"+f.Names()[0]] = true
		}
	}
	for _, s := range settings(nil) {
		known["--"+s.name], known[s.env()] = true, true
	}
	foreign := regexp.MustCompile(`(?m)^.*(buildx|kind:|k3d|minikube|kaniko|--embed-certs|--docker-env|--disable-default-registry-endpoint|dind|--driver-opt).*$`)
	for _, path := range pages(t) {
		text := page(t, path)
		for _, name := range regexp.MustCompile(`ENTREPOT_[A-Z0-9_]+`).FindAllString(text, -1) {
			if !known[name] && !serviceLink.MatchString(name) {
				t.Errorf("%s: %s: no such variable", filepath.Base(path), name)
			}
		}
		for _, m := range codeSpan.FindAllStringSubmatch(foreign.ReplaceAllString(text, ""), -1) {
			if !strings.HasPrefix(m[1], "--") {
				continue
			}
			for _, name := range regexp.MustCompile(`--[a-z-]+`).FindAllString(m[1], -1) {
				if !known[name] {
					t.Errorf("%s: `%s`: no such flag", filepath.Base(path), m[1])
				}
			}
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestReadmeLinks: what a page refers to within the repository is there.
func TestReadmeLinks(t *testing.T) {
	for _, path := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(page(t, path), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			to := path
			if target != "" {
				to = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %v", filepath.Base(path), err)
			} else if anchor != "" && !slices.Contains(anchors(page(t, to)), anchor) {
				t.Errorf("%s: %s has no heading for #%s", filepath.Base(path), filepath.Base(to), anchor)
			}
		}
	}
}

// anchors are the names under which headings can be linked to.
func anchors(text string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}
