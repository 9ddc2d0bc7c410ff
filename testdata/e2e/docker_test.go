//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// cgroupParent holds the control groups of all containers of a run.
const cgroupParent = "/entrepot-e2e"

// docker is a dockerd with an empty store, and the docker command for it.
type docker struct {
	socket string
	env    []string // of the command; a build asks for tokens from there
	log    string
}

// daemonFile is where dockerd's configuration is.
const daemonFile = "/etc/docker/daemon.json"

// startDocker starts dockerd as on a machine with this daemon.json ("" is
// none) and this environment.
func startDocker(t *testing.T, daemonJSON string, env ...string) *docker {
	t.Helper()
	writeFile(t, daemonFile, or(daemonJSON, "{}"))
	return launchDocker(t, env...)
}

// launchDocker starts dockerd on the machine as it is.
func launchDocker(t *testing.T, env ...string) *docker {
	t.Helper()
	dir := newDir(t, "docker")
	socket := "unix://" + socketPath(t, "docker")
	p := start(t, "dockerd", command(env, "/usr/sbin/dockerd",
		"--data-root", filepath.Join(dir, "data"), "--exec-root", runDir(t, "docker"),
		"--host", socket, "--pidfile", filepath.Join(runDir(t, "docker"), "pid"),
		"--cgroup-parent", cgroupParent, "--bridge", "none", "--iptables=false", "--ip6tables=false"))
	d := &docker{socket: socket, env: env, log: p.log}
	p.until(t, func() error { _, err := try(d.command("version")); return err })
	return d
}

func (d *docker) command(args ...string) *exec.Cmd {
	return command(d.env, "/usr/bin/docker", append([]string{"--host", d.socket}, args...)...)
}

func (d *docker) pull(ref string) (string, error) { return try(d.command("pull", ref)) }

// remove leaves nothing of any image, so that the next pull starts from zero.
func (d *docker) remove(t *testing.T, _ string) {
	t.Helper()
	run(t, d.command("system", "prune", "--all", "--force"))
	if left := run(t, d.command("images", "--all", "--quiet")); left != "" {
		t.Fatalf("docker still has images: %s", left)
	}
}

// build builds a Dockerfile with one COPY on top of an image, by the classic
// builder or by BuildKit, which have different code for pulling.
func (d *docker) build(t *testing.T, from string, buildkit bool) (string, error) {
	t.Helper()
	dir := filepath.Join(scratch(t), "context")
	writeFile(t, filepath.Join(dir, "Dockerfile"), "FROM "+from+"\nCOPY greeting /greeting\n")
	writeFile(t, filepath.Join(dir, "greeting"), "hello\n")
	cmd := d.command("build", "--no-cache", "--pull", "--tag", "built:latest", dir)
	cmd.Env = append(cmd.Env, "DOCKER_BUILDKIT="+map[bool]string{true: "1", false: "0"}[buildkit])
	return try(cmd)
}

// builder makes `docker build` a puller of its base image.
type builder struct {
	*docker
	t        *testing.T
	buildkit bool
}

func (b builder) pull(ref string) (string, error) { return b.build(b.t, ref, b.buildkit) }

// newDir is a directory of the test's own that no other daemon of it has.
func newDir(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp(scratch(t), name+"-")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// runDir is a directory for sockets: short, since their names must be, and in
// the run's own /run.
func runDir(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run", name)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func socketPath(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(runDir(t, name), "sock")
}

// writeFile replaces a file and makes the directories above it.
func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// placeFile is writeFile for the length of a test: the file goes with it.
func placeFile(t testing.TB, path, text string) {
	t.Helper()
	writeFile(t, path, text)
	t.Cleanup(func() { _ = os.Remove(path) }) // may have been removed by the test
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
