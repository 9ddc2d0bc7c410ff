package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

// garbage is how much of it there may be, in percent of what is in use: after a rush it stays, and takes the place of what comes next.
// Twice as much (Go's own measure) was a fifth of the memory of 500 slow clients.
const garbage = 50

// limitGarbage tells the runtime so. Who sets GOGC knows better; an empty one says nothing, to the runtime neither.
func limitGarbage(env environment) {
	if env["GOGC"] == "" {
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
	if env["GOMEMLIMIT"] != "" {
		return
	}
	if limit := containerLimit(root); limit > 0 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// containerLimit is the least memory limit of this process's control groups and those above them, 0 where there is none: of version 2,
// of version 1, and of both where they stand beside each other, since memory may be counted in either.
func containerLimit(root string) int64 {
	least := int64(noLimit)
	for line := range strings.Lines(readText(filepath.Join(root, "proc/self/cgroup"))) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		switch {
		case controllers == "": // version 2, which has a place of its own beside version 1
			least = min(least, groupLimit(filepath.Join(root, "sys/fs/cgroup"), group, "memory.max"),
				groupLimit(filepath.Join(root, "sys/fs/cgroup/unified"), group, "memory.max"))
		case slices.Contains(strings.Split(controllers, ","), "memory"):
			least = min(least, groupLimit(filepath.Join(root, "sys/fs/cgroup/memory"), group, "memory.limit_in_bytes"))
		}
	}
	if least == noLimit {
		return 0
	}
	return least
}

// noLimit is less than what version 1 says where there is none, the largest number that is a multiple of the size of a page; version 2
// says "max".
const noLimit = 1 << 62

// groupLimit is the least limit on the way from a group up to the top of its hierarchy, noLimit where there is none. In a container
// the way down to the group is often not to be seen: its limit stands at the top.
func groupLimit(top, group, file string) int64 {
	least := int64(noLimit)
	for dir := filepath.Join("/", group); ; dir = filepath.Dir(dir) {
		text := readText(filepath.Join(top, dir, file))
		if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil && n > 0 {
			least = min(least, n)
		}
		if dir == "/" {
			return least
		}
	}
}

// readText is what is in a file, nothing where it cannot be read.
func readText(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(b)
}
