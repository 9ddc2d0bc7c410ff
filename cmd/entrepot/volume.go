package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// noFloor is the size of a floor of free space that is none.
const noFloor = -1

// parseFloor is parseSize for what may be nothing at all.
func parseFloor(text string) (size, error) {
	if m := sizePattern.FindStringSubmatch(text); m != nil && isZero(m[1]) {
		return size{bytes: noFloor}, nil
	}
	return parseSize(text)
}

// of is the size in bytes, for a cache in dir.
func (s size) of(dir string) (int64, error) {
	if s.percent == 0 {
		return s.bytes, nil
	}
	var volume syscall.Statfs_t
	if err := syscall.Statfs(dir, &volume); err != nil {
		return 0, withHint("say it as a size: --max-size 50GiB", "%s does not tell how big its volume is: %w", dir, err)
	}
	return int64(float64(volume.Blocks) * float64(volume.Bsize) / 100 * s.percent), nil
}

// volume is the size in bytes of the volume that the data directory lies on, or will. False where the system does not say.
func (c config) volume() (int64, bool) {
	n, err := size{percent: 100}.of(nearestThere(c.DataDir))
	return n, err == nil && n > 0
}

// nearestThere is path, or what is there of the directories that it is to be made in.
func nearestThere(path string) string {
	for {
		above := filepath.Dir(path)
		if _, err := os.Lstat(path); err == nil || above == path {
			return path
		}
		path = above
	}
}

// checkVolume refuses a floor of free space above which there is nothing.
func (c config) checkVolume(bad *problems) {
	volume, ok := c.volume()
	if !ok {
		return
	}
	floor, err := c.MinFree.of(nearestThere(c.DataDir))
	if err != nil || floor < volume {
		return
	}
	bad.add(c.from("min-free"),
		fmt.Sprintf("got %q, want less than the %s of the volume that %s lies on", c.was("min-free"), humanBytes(float64(volume)), c.DataDir),
		"it stays free, so nothing would ever be kept; 0 is no floor at all")
}

// smallCache is what a limit below is warned of: a distribution's base layer alone is about a half of it.
const smallCache = 64 << 20

// volumeCautions say what an operator may not expect of his volume, nor of a cache of the size that he said.
func (c config) volumeCautions() []string {
	var all []string
	limit, err := c.MaxSize.of(nearestThere(c.DataDir))
	if err == nil && limit < smallCache {
		all = append(all, fmt.Sprintf("%s: %q is %s: hardly a layer fits, and what does not is passed on and not kept",
			c.from("max-size"), c.was("max-size"), humanBytes(float64(limit))))
	}
	if volume, ok := c.volume(); ok && c.MaxSize.bytes > volume {
		all = append(all, fmt.Sprintf("%s: %q is more than the %s of the volume that %s lies on: only --min-free bounds the cache",
			c.from("max-size"), c.was("max-size"), humanBytes(float64(volume)), c.DataDir))
	}
	return all
}
