//go:build e2e

package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// containerd is a containerd 2 with an empty store, and ctr for it.
type containerd struct {
	socket   string
	hostsDir string // of hosts.toml; "" is none
	env      []string
	local    bool // ctr fetches, not the daemon: two ways with code of their own
}

// startContainerd starts containerd 2 with this environment.
func startContainerd(t *testing.T, hostsDir string, env ...string) *containerd {
	t.Helper()
	return startContainerdWith(t, "", hostsDir, env...)
}

// inParallel makes containerd fetch a layer by many connections, each for a chunk of it.
const inParallel = "[plugins.'io.containerd.transfer.v1.local']\n  max_concurrent_downloads = 8\n  concurrent_layer_fetch_buffer = 1048576\n"

// startContainerdWith starts containerd 2 with more in its configuration.
func startContainerdWith(t *testing.T, more, hostsDir string, env ...string) *containerd {
	t.Helper()
	dir := newDir(t, "containerd")
	socket := socketPath(t, "containerd")
	config := filepath.Join(dir, "config.toml")
	writeFile(t, config, "version = 3\n"+
		"root = '"+filepath.Join(dir, "root")+"'\n"+
		"state = '"+runDir(t, "containerd")+"'\n"+
		"disabled_plugins = ['io.containerd.grpc.v1.cri', 'io.containerd.nri.v1.nri']\n"+
		"[grpc]\n  address = '"+socket+"'\n"+more)
	p := start(t, "containerd", command(env, program("containerd"), "--config", config))
	c := &containerd{socket: socket, hostsDir: hostsDir, env: env}
	p.until(t, func() error { _, err := try(c.command("version")); return err })
	return c
}

func (c *containerd) command(args ...string) *exec.Cmd {
	return command(c.env, program("ctr"), append([]string{"--address", c.socket}, args...)...)
}

func (c *containerd) pull(ref string) (string, error) {
	args := []string{"images", "pull", "--platform", "linux/amd64"}
	if c.local {
		args = append(args, "--local")
	}
	if c.hostsDir != "" {
		args = append(args, "--hosts-dir", c.hostsDir)
	}
	return try(c.command(append(args, ref)...))
}

// remove removes the image and waits for the garbage collection of its content.
func (c *containerd) remove(t *testing.T, ref string) {
	t.Helper()
	run(t, c.command("images", "remove", "--sync", ref))
	if left := run(t, c.command("content", "list", "--quiet")); left != "" {
		t.Fatalf("containerd still has content: %s", left)
	}
}
