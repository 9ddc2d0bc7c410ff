package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of the times in /proc/PID/stat, on every Linux machine of today.
const clockTick = 10 * time.Millisecond

// pids are the processes of a server: those of its process groups.
func (s *server) pids() []int {
	groups := map[int]bool{}
	for _, cmd := range s.commands {
		groups[cmd.Process.Pid] = true
	}
	var found []int
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range all {
		fields, err := statFields(name)
		if err != nil {
			continue // it has just ended
		}
		if group, _ := strconv.Atoi(fields[statGroup]); groups[group] {
			pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
			found = append(found, pid)
		}
	}
	return found
}

// Where fields stand in /proc/PID/stat behind the program's name (proc(5)).
const (
	statState = 0
	statGroup = 2
	statUser  = 11
	statKern  = 12
	statLeast = 13
)

func statFields(name string) ([]string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < statLeast {
		return nil, fmt.Errorf("%s: got %d fields, want %d", name, len(fields), statLeast)
	}
	return fields, nil
}

// cpu is the time that the server's processes have had so far, user's and kernel's: to the nanosecond where the kernel tells how long
// each thread has run, else by counting ticks, which for a turn of half a second is an eighth this way or that.
func (s *server) cpu() time.Duration {
	var sum time.Duration
	for _, pid := range s.pids() {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/schedstat", pid))
		for _, name := range threads {
			ran, _, _ := strings.Cut(text(name), " ")
			ns, _ := strconv.ParseInt(ran, 10, 64) // it has just ended
			sum += time.Duration(ns)
		}
	}
	if sum > 0 {
		return sum
	}
	return s.ticked()
}

// ticked is the same by /proc/PID/stat.
func (s *server) ticked() time.Duration {
	var ticks int64
	for _, pid := range s.pids() {
		fields, err := statFields(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		user, _ := strconv.ParseInt(fields[statUser], 10, 64)
		kernel, _ := strconv.ParseInt(fields[statKern], 10, 64)
		ticks += user + kernel
	}
	return time.Duration(ticks) * clockTick
}

// resident is the memory of the server's processes in bytes: the most that it was since forgetPeak, or what it is now. Pages that
// two processes share are counted twice.
func (s *server) resident(peak bool) int64 {
	field := "VmRSS:"
	if peak {
		field = "VmHWM:"
	}
	var sum int64
	for _, pid := range s.pids() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, field); ok {
				kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				sum += kib << 10
			}
		}
	}
	return sum
}

// inUse is what is resident now. It fails where a program that was started has ended, or nothing is there that could be measured: what
// has died needs no memory, and would win by it.
func (s *server) inUse() (int64, error) {
	for _, cmd := range s.commands {
		fields, err := statFields(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err != nil || fields[statState] == "Z" {
			return 0, fmt.Errorf("%s has ended before its memory was measured; see the logs in %s", cmd.Path, s.dir)
		}
	}
	now := s.resident(false)
	if now == 0 {
		return 0, fmt.Errorf("%s has no memory in use that could be measured", s.name)
	}
	return now, nil
}

// forgetPeak begins a new measurement of the most memory.
func (s *server) forgetPeak() {
	for _, pid := range s.pids() {
		os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // not permitted: the peak is then of the whole run
	}
}
