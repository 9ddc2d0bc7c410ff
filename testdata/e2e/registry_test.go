//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
)

// startRegistry starts a distribution v3 process with its files on disk.
func startRegistry(t testing.TB, name, addr string) {
	t.Helper()
	storage := "  filesystem:\n    rootdirectory: " + filepath.Join(scratch(t), name)
	config := registryConfig(t, name, addr, storage)
	serveRegistry(t, name, addr, command(nil, program("registry"), "serve", config))
}

// registryConfig writes the configuration; storage is the YAML of a driver.
func registryConfig(t testing.TB, name, addr, storage string) string {
	t.Helper()
	config := filepath.Join(scratch(t), name+".yml")
	text := fmt.Sprintf(`version: 0.1
log:
  level: info
  formatter: text
storage:
%s
  delete:
    enabled: true
  maintenance:
    uploadpurging:
      enabled: false
http:
  addr: %s
  relativeurls: true
`, storage, addr)
	writeFile(t, config, text)
	return config
}

func serveRegistry(t testing.TB, name, addr string, cmd *exec.Cmd) {
	t.Helper()
	cmd.Env = append(cmd.Env, "OTEL_TRACES_EXPORTER=none")
	p := start(t, "registry-"+name, cmd)
	p.until(t, func() error { return answers("http://" + addr + "/v2/") })
}

// answers reports whether somebody speaks HTTP there; any status will do.
func answers(url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
