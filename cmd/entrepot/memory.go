package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// garbage is how much of it there may be, in percent of what is in use: after a rush it stays, and takes the place of what comes next.
// Twice as much (Go's own measure) was a fifth of the memory of 500 slow clients.
const garbage = 50

// limitGarbage tells the runtime so. Who sets GOGC knows better.
func limitGarbage(env environment) {
	if _, said := env["GOGC"]; !said {
		debug.SetGCPercent(garbage)
	}
}

// heapFloor is memory that is never touched, and so never there, but that the garbage collector takes for part of the heap: with a
// live heap of some megabytes it would otherwise run for every two megabytes that requests have used. That was a fifth of the CPU
// time of a new connection and of a manifest hit, for 12 MiB of memory saved. A larger GOGC would do the same for a small cache, and
// cost hundreds of megabytes with a large one.
const heapFloor = 28 << 20

// holdFloor makes the floor; it stays until release is called.
func holdFloor() (release func()) {
	floor := make([]byte, heapFloor)
	return func() { clear(floor[:1]) } // a use, so that it lives until here
}

// limitMemory tells the runtime what a container may use, so that it collects harder before the kernel kills it: nine tenths, since
// not everything is the heap's. Who sets GOMEMLIMIT knows better. The number of processors is found by the runtime itself. root is
// where the file system begins.
func limitMemory(env environment, root string) {
	if _, said := env["GOMEMLIMIT"]; said {
		return
	}
	if limit := containerLimit(root); limit > 0 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// containerLimit is the least memory limit of this process's control group (version 2) and those above it, 0 where there is none. In
// a container its own group is usually the root of what can be seen.
func containerLimit(root string) int64 {
	group := ""
	for line := range strings.Lines(readText(filepath.Join(root, "proc/self/cgroup"))) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			group = path
		}
	}
	least := int64(math.MaxInt64)
	for dir := filepath.Join("/", group); ; dir = filepath.Dir(dir) {
		text := readText(filepath.Join(root, "sys/fs/cgroup", dir, "memory.max"))
		if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil && n > 0 { // "max" is no limit
			least = min(least, n)
		}
		if dir == "/" {
			break
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return least
}

// readText is what is in a file, nothing where it cannot be read.
func readText(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(b)
}
