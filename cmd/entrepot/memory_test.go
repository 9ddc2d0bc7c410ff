package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

// TestContainerLimit: the least limit on the way up counts, and what is no number is none.
func TestContainerLimit(t *testing.T) {
	for name, row := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no control groups":             {nil, 0},
		"no limit":                      {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 0},
		"a container's":                 {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "268435456\n"}, 268435456},
		"a service's":                   {map[string]string{"proc/self/cgroup": "0::/system.slice/a.service\n", "sys/fs/cgroup/system.slice/a.service/memory.max": "1000\n"}, 1000},
		"the slice's is less":           {map[string]string{"proc/self/cgroup": "0::/s/a\n", "sys/fs/cgroup/s/a/memory.max": "1000\n", "sys/fs/cgroup/s/memory.max": "500\n"}, 500},
		"a path from outside, unseen":   {map[string]string{"proc/self/cgroup": "0::/../../b\n", "sys/fs/cgroup/memory.max": "700\n"}, 700},
		"other hierarchies stand first": {map[string]string{"proc/self/cgroup": "2:cpu:/x\n0::/y\n", "sys/fs/cgroup/y/memory.max": "600\n"}, 600},
		"no memory in the hierarchy":    {map[string]string{"proc/self/cgroup": "2:memory2:/x\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "1000\n"}, 0},

		"version 1": {map[string]string{"proc/self/cgroup": "4:memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000\n"}, 1000},
		"version 1 without a limit": {map[string]string{
			"proc/self/cgroup": "4:memory:/a\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":   "9223372036854710272\n", // with pages of 64 KiB
		}, 0},
		"version 1, the one above has less": {map[string]string{
			"proc/self/cgroup": "5:cpu,memory:/s/a:b\n",
			"sys/fs/cgroup/memory/s/a:b/memory.limit_in_bytes": "1000\n",
			"sys/fs/cgroup/memory/s/memory.limit_in_bytes":     "500\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":       "9223372036854771712\n",
		}, 500},
		"version 1, a path from outside, unseen": {map[string]string{
			"proc/self/cgroup":                           "4:memory:/docker/0123\n0::/docker/0123\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "700\n",
		}, 700},
		"both, version 1 counts memory": {map[string]string{
			"proc/self/cgroup": "4:memory:/a\n1:name=systemd:/a\n0::/b\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "600\n",
			"sys/fs/cgroup/unified/b/cgroup.procs":         "1\n",
		}, 600},
		"both, version 2 counts memory": {map[string]string{
			"proc/self/cgroup": "4:memory:/a\n0::/b\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n",
			"sys/fs/cgroup/unified/b/memory.max":           "400\n",
		}, 400},
	} {
		root := t.TempDir()
		lay(t, root, row.files)
		if got := containerLimit(root); got != row.want {
			t.Errorf("%s: got %d, want %d", name, got, row.want)
		}
	}
}

// lay writes files below root.
func lay(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for file, text := range files {
		file = filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLimitMemory: the runtime is told, unless the operator has.
func TestLimitMemory(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	root := t.TempDir()
	lay(t, root, map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000000000\n"})
	for _, row := range []struct {
		env  environment
		want int64
	}{{environment{"GOMEMLIMIT": "off"}, math.MaxInt64}, {environment{}, 900_000_000}, {environment{"GOMEMLIMIT": ""}, 900_000_000}} {
		debug.SetMemoryLimit(math.MaxInt64)
		limitMemory(row.env, root)
		if got := debug.SetMemoryLimit(-1); got != row.want {
			t.Errorf("%v: got a limit of %d, want %d", row.env, got, row.want)
		}
	}
}

// TestLimitGarbage: the collector is told, unless the operator has.
func TestLimitGarbage(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	for _, row := range []struct {
		env  environment
		want int
	}{{environment{"GOGC": "100"}, 100}, {environment{}, garbage}, {environment{"GOGC": ""}, garbage}} {
		limitGarbage(row.env)
		if got := debug.SetGCPercent(100); got != row.want {
			t.Errorf("%v: got %d, want %d", row.env, got, row.want)
		}
	}
}
