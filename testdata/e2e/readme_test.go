//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// readme is the blocks of README.md that are for real clients: those behind a
// line `<!-- e2e: NAME [FILE] -->`.
type readme struct {
	blocks map[string]block
	used   map[string]bool
}

type block struct{ file, text string }

var tagged = regexp.MustCompile("(?ms)^<!-- e2e: (\\S+)(?: (\\S+))? -->\n(?:```\\w*\n(.*?)^```$)?")

func readReadme(t *testing.T) *readme {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleRoot(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	r := &readme{map[string]block{}, map[string]bool{}}
	for _, m := range tagged.FindAllStringSubmatch(string(text), -1) {
		if r.blocks[m[1]].text != "" || m[3] == "" {
			t.Errorf("README.md: %s is tagged twice, or no block follows", m[1])
		}
		r.blocks[m[1]] = block{file: m[2], text: m[3]}
	}
	return r
}

// text is a block that is to be run or read by the test.
func (r *readme) text(t *testing.T, name string) string {
	t.Helper()
	b, ok := r.blocks[name]
	if !ok {
		t.Fatalf("README.md has no block tagged %q", name)
	}
	r.used[name] = true
	return b.text
}

// place puts a block into the file that its tag names.
func (r *readme) place(t *testing.T, name string) {
	t.Helper()
	text := r.text(t, name)
	if r.blocks[name].file == "" {
		t.Fatalf("README.md: the tag %q names no file", name)
	}
	placeFile(t, r.blocks[name].file, text)
}

// asReadmeSays does what README.md tells a user to do, block by block.
func asReadmeSays(t *testing.T, u *upstream) {
	r := readReadme(t)
	if len(r.blocks) == 0 {
		t.Fatal("README.md has no tagged blocks")
	}
	for name, test := range map[string]func(*testing.T, *upstream, *readme){
		"docker-localhost": readmeLocalhost, "docker-mirror": readmeMirror, "docker-insecure": readmeInsecure,
		"docker-proxy": readmeProxy, "podman-mirror": readmePodman, "containerd-default": readmeContainerd,
		"fetch-ca": readmeTrust,
	} {
		u.scenario(t, name, func(t *testing.T) { test(t, u, r) })
	}
	for name := range r.blocks {
		if !r.used[name] {
			t.Errorf("README.md: the block %q is tagged, and no test uses it", name)
		}
	}
}

// readmeLocalhost runs the commands: two pulls and what is between.
func readmeLocalhost(t *testing.T, u *upstream, r *readme) {
	e := startEntrepot(t, u)
	d := startDocker(t, "")
	sh(t, scratch(t), r.text(t, "docker-localhost"), "DOCKER_HOST="+d.socket)
	e.blobs(t, 0, u.small.native, "mirror", "MISS", "COLLAPSED", "HIT")
	moved := u.BlobBytes()
	d.remove(t, "")
	sh(t, scratch(t), r.text(t, "docker-localhost"), "DOCKER_HOST="+d.socket)
	u.NoMoreBlobBytes(t, moved)
}

func readmeMirror(t *testing.T, u *upstream, r *readme) {
	e := startEntrepot(t, u)
	r.place(t, "docker-mirror")
	e.pullTwice(t, launchDocker(t), "mirror", hubSmall)
}

func readmeInsecure(t *testing.T, u *upstream, r *readme) {
	e := startEntrepot(t, u)
	e.override(t, "quay.io", "gcr.io", "k8s.gcr.io")
	r.place(t, "docker-insecure")
	e.pullTwice(t, launchDocker(t), "tls", quaySmall, oldImage)
}

// readmeProxy is systemd's part: it reads the drop-in into the environment.
func readmeProxy(t *testing.T, u *upstream, r *readme) {
	e := startEntrepot(t, u)
	e.trustSystemWide(t)
	r.place(t, "docker-proxy")
	dropIn, err := os.ReadFile(r.blocks["docker-proxy"].file)
	if err != nil {
		t.Fatal(err)
	}
	var env []string
	for line := range strings.Lines(string(dropIn)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "Environment="); ok {
			env = append(env, strings.Trim(value, `"`))
		}
	}
	if !slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, "HTTPS_PROXY=") }) {
		t.Fatalf("the drop-in sets no HTTPS_PROXY: %q", env)
	}
	e.pullTwice(t, startDocker(t, "", env...), "proxy", hubSmall, quaySmall)
}

func readmePodman(t *testing.T, u *upstream, r *readme) {
	e := startEntrepot(t, u)
	r.place(t, "podman-mirror")
	e.pullTwice(t, podman(t), "mirror", hubSmall, quaySmall)
}

// readmeContainerd has the file for all registries, then that for one beside.
func readmeContainerd(t *testing.T, u *upstream, r *readme) {
	e := startEntrepot(t, u)
	r.place(t, "containerd-default")
	c := startContainerd(t, "/etc/containerd/certs.d")
	e.pullTwice(t, c, "mirror", hubSmall, quaySmall)
	r.place(t, "containerd-docker.io")
	e.pullTwice(t, c, "mirror", hubSmall, quaySmall)
}

// readmeTrust fetches the certificate, compares it with what entrepot says on
// its own machine, and pulls with it.
func readmeTrust(t *testing.T, u *upstream, r *readme) {
	e := startEntrepot(t, u)
	dir := scratch(t)
	printed := sh(t, dir, r.text(t, "fetch-ca"))
	_, theirs, _ := strings.Cut(strings.TrimSpace(printed), "=")
	data := filepath.Dir(filepath.Dir(e.ca))
	ours := run(t, command(nil, entrepotBinary(), "ca", "show", "--data-dir", data))
	if theirs == "" || !strings.Contains(ours, theirs) {
		t.Errorf("the fetched certificate has %q, `entrepot ca show` says %q", printed, ours)
	}
	sh(t, dir, r.text(t, "crane-proxy"))
	e.blobs(t, 0, u.image(quayImage).native, "proxy", "MISS", "COLLAPSED")
	if info, err := os.Stat(filepath.Join(dir, "busybox.tar")); err != nil || info.Size() < u.image(quayImage).blobBytes() {
		t.Errorf("busybox.tar: got %v, %v, want the image", info, err)
	}
}

// sh runs commands of the README as a user types them.
func sh(t *testing.T, dir, commands string, env ...string) string {
	t.Helper()
	path := "PATH=" + filepath.Dir(program("crane")) + ":" + systemPath
	cmd := command(append(env, path), "/bin/sh", "-ec", commands)
	cmd.Dir = dir
	return run(t, cmd)
}
