//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// tool is a client without a daemon: one command that pulls into a place of
// its own, and what takes the image away.
type tool struct {
	fetch func(ref string) (string, error)
	drop  func(t *testing.T, ref string)
}

func (c tool) pull(ref string) (string, error) { return c.fetch(ref) }
func (c tool) remove(t *testing.T, ref string) { t.Helper(); c.drop(t, ref) }

// podman pulls into a vfs store, which works on every file system. Its
// registries.conf is the machine's.
func podman(t *testing.T, env ...string) tool {
	t.Helper()
	return storing(t, env, "/usr/bin/podman", []string{"pull"}, []string{"rmi", "--force"}, []string{"images", "--all", "--quiet"})
}

// buildah pulls like podman but by code of its own.
func buildah(t *testing.T, env ...string) tool {
	t.Helper()
	return storing(t, env, "/usr/bin/buildah", []string{"pull"}, []string{"rmi", "--force"}, []string{"images", "--all", "--quiet"})
}

// storing is a client with a store of containers/storage.
func storing(t *testing.T, env []string, name string, pull, remove, list []string) tool {
	t.Helper()
	dir := newDir(t, filepath.Base(name))
	global := []string{"--root", filepath.Join(dir, "root"), "--runroot", runDir(t, "storage"), "--storage-driver", "vfs"}
	with := func(args []string, more ...string) []string {
		return append(append(append([]string{}, global...), args...), more...)
	}
	return tool{
		fetch: func(ref string) (string, error) { return try(command(env, name, with(pull, ref)...)) },
		drop: func(t *testing.T, ref string) {
			run(t, command(env, name, with(remove, ref)...))
			if left := run(t, command(env, name, with(list)...)); left != "" {
				t.Fatalf("%s still has images: %s", name, left)
			}
		},
	}
}

// skopeo copies into a directory.
func skopeo(t *testing.T, env ...string) tool {
	t.Helper()
	dir := filepath.Join(scratch(t), "skopeo")
	return tool{
		fetch: func(ref string) (string, error) {
			return try(command(env, "/usr/bin/skopeo", "copy", "docker://"+ref, "dir:"+dir))
		},
		drop: removing(dir),
	}
}

// crane writes a tar file.
func crane(t *testing.T, env ...string) tool {
	t.Helper()
	file := filepath.Join(scratch(t), "crane.tar")
	return tool{
		fetch: func(ref string) (string, error) { return try(command(env, program("crane"), "pull", ref, file)) },
		drop:  removing(file),
	}
}

// regctl copies the whole index, all platforms, into an OCI layout.
func regctl(t *testing.T, env ...string) tool {
	t.Helper()
	dir := filepath.Join(scratch(t), "regctl")
	return tool{
		fetch: func(ref string) (string, error) {
			return try(command(env, program("regctl"), "image", "copy", ref, "ocidir://"+dir+":latest"))
		},
		drop: removing(dir),
	}
}

func removing(path string) func(*testing.T, string) {
	return func(t *testing.T, _ string) {
		t.Helper()
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}
