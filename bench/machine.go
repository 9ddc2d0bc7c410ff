package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// machine says what the numbers were measured on, without saying whose it is. dir is where the servers write.
func machine(dir string) string {
	model := "unknown CPU"
	for line := range strings.Lines(text("/proc/cpuinfo")) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	var u unix.Utsname
	kernel := "unknown"
	if unix.Uname(&u) == nil {
		kernel, _, _ = strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	}
	// BBR paces even what stays on the machine: plain layers cost all servers twice to five times as much by it as by cubic.
	congestion := strings.TrimSpace(text("/proc/sys/net/ipv4/tcp_congestion_control"))
	root := "as root"
	if os.Geteuid() != 0 {
		root = "not as root"
	}
	return fmt.Sprintf("%s, %d cores, %s, %s, Linux %s, TCP by %s, %s, %s", model, runtime.NumCPU(), memorySize(text("/proc/meminfo")),
		fileSystem(text("/proc/self/mountinfo"), dir), kernel, congestion, runtime.Version(), root)
}

// memorySize is what /proc/meminfo says that the machine has.
func memorySize(meminfo string) string {
	for line := range strings.Lines(meminfo) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest + " 0")[0], 64) // of the kernel's making
			return fmt.Sprintf("%.0f GiB", kib/mib)
		}
	}
	return "unknown memory"
}

// fileSystem is the type of the one that dir is on, and its device, as /proc/self/mountinfo tells them (proc(5)): of what is mounted
// above dir the deepest, and of several at one place the last.
func fileSystem(mountinfo, dir string) string {
	found, depth := "unknown file system", -1
	for line := range strings.Lines(mountinfo) {
		place, source, ok := strings.Cut(line, " - ")
		fields, what := strings.Fields(place), strings.Fields(source)
		if !ok || len(fields) < 5 || len(what) < 2 {
			continue
		}
		point := strings.TrimSuffix(fields[4], "/") + "/"
		if !strings.HasPrefix(dir+"/", point) || len(point) < depth {
			continue
		}
		found, depth = what[0], len(point)
		if device, ok := strings.CutPrefix(what[1], "/dev/"); ok {
			found += " on " + device
		}
	}
	return found
}

var versionNumber = regexp.MustCompile(`[0-9]+(\.[0-9]+)+`)

// version is what the program says of itself, "" where there is none, or where it is one that is measured under another name too.
// Entrepot's is what git describes its commit as (see the Makefile).
func (c contender) version() string {
	word, ok := map[string]string{"entrepot": "version", "other": "version", "nginx": "-v", "registry": "--version", "squid": "-v"}[c.name]
	if !ok {
		return ""
	}
	said, err := exec.Command(c.needs[0], word).CombinedOutput()
	if err != nil {
		return ""
	}
	if word == "version" {
		_, of, _ := strings.Cut(string(said), " ")
		of, _, _ = strings.Cut(of, " ")
		return c.name + " " + strings.TrimSpace(of)
	}
	return c.name + " " + versionNumber.FindString(string(said))
}
