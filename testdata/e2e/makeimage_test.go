//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// makeImage is `make image` with a real dockerd, and the image in use: as a
// user without rights, on a read-only root, with crane pulling through it.
func makeImage(t *testing.T, u *upstream) {
	d := startDocker(t, "")
	build := exec.Command("make", "image")
	build.Dir = moduleRoot()
	// Go and its caches are those of whoever runs the tests.
	build.Env = append(os.Environ(), "DOCKER_HOST="+d.socket, "PATH=/usr/bin:"+os.Getenv("PATH"), "GOPROXY=off")
	t.Log(run(t, build))
	name := run(t, d.command("images", "--filter", "dangling=false", "--format", "{{.Repository}}:{{.Tag}}"))
	name, _, _ = strings.Cut(name, "\n")
	if user := run(t, d.command("inspect", "--format", "{{.Config.User}}", name)); user == "" || user == "0" || user == "root" {
		t.Errorf("the image's user is %q, want one without rights", user)
	}
	e := runImage(t, u, d, name)
	e.healthy(t)
	e.pullTwice(t, crane(t, e.trusting()...), "proxy", hubImage)
}

// runImage starts the image on this network, with a volume for its data and
// nothing else that it may write.
func runImage(t *testing.T, u *upstream, d *docker, name string) *entrepot {
	t.Helper()
	args := []string{
		"run", "--rm", "--read-only", "--network", "host", "--cap-drop", "ALL",
		"--volume", "entrepot:/var/lib/entrepot", "--volume", u.roots + ":" + u.roots + ":ro", name,
	}
	// Ports below 1024 are not for a user without rights.
	flags := u.serveFlags("/var/lib/entrepot", "--tls-listen", "off", "--http-listen", "off")
	p := start(t, "container", d.command(append(args, flags...)...))
	e := &entrepot{process: p, up: u, ca: filepath.Join(scratch(t), "ca.crt")}
	p.until(t, ready)
	_, pem := get(t, "http://"+mirrorAddr+"/ca.crt")
	writeFile(t, e.ca, pem)
	return e
}
