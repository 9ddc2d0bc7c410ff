package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine says what the numbers were measured on, without saying whose it is.
func machine() string {
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
	return fmt.Sprintf("%s, %d cores, Linux %s, TCP by %s, %s", model, runtime.NumCPU(), kernel, congestion, runtime.Version())
}

var versionNumber = regexp.MustCompile(`[0-9]+(\.[0-9]+)+`)

// version is what others than entrepot say of themselves, "" where there is no program.
func (c contender) version() string {
	flag, ok := map[string]string{"nginx": "-v", "registry": "--version", "squid": "-v"}[c.name]
	if !ok {
		return ""
	}
	said, err := exec.Command(c.needs[0], flag).CombinedOutput()
	if err != nil {
		return ""
	}
	return c.name + " " + versionNumber.FindString(string(said))
}
