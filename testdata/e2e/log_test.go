//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"
)

// entry is a line of entrepot's log that tells of a request.
type entry struct {
	Door     string `json:"door"`
	Method   string `json:"method"`
	Registry string `json:"registry"`
	Repo     string `json:"repo"`
	Kind     string `json:"kind"`
	Ref      string `json:"ref"`
	Cache    string `json:"cache"`
	Status   int    `json:"status"`
	Bytes    int64  `json:"bytes"`
	Error    string `json:"error"`
}

// mark is a place in the log.
func (e *entrepot) mark(t testing.TB) int64 {
	t.Helper()
	info, err := os.Stat(e.log)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// entries are the requests since a mark.
func (e *entrepot) entries(t testing.TB, since int64) []entry {
	t.Helper()
	text, err := os.ReadFile(e.log)
	if err != nil {
		t.Fatal(err)
	}
	var all []entry
	for line := range strings.Lines(string(text[since:])) {
		var one entry
		if json.Unmarshal([]byte(line), &one) == nil && one.Kind != "" {
			all = append(all, one)
		}
	}
	return all
}

// blobs waits until the log tells of each blob since the mark that it came by
// this door with one of these cache words, and fails the test if it does not.
// A line is written when its request is over, a moment after the client has
// the last byte.
func (e *entrepot) blobs(t testing.TB, since int64, want map[string]int64, door string, words ...string) {
	t.Helper()
	late, again := time.After(3*time.Second), time.NewTicker(20*time.Millisecond)
	defer again.Stop()
	for {
		problem := check(e.entries(t, since), want, door, words)
		if problem == nil {
			return
		}
		select {
		case <-again.C:
		case <-late:
			t.Error(problem)
			return
		}
	}
}

func check(log []entry, want map[string]int64, door string, words []string) error {
	seen := map[string]string{}
	for _, one := range log {
		if one.Kind == "blob" && one.Method == "GET" {
			seen[one.Ref] += " " + one.Cache
			if one.Door != door {
				return fmt.Errorf("blob %s came by door %q, want %q", one.Ref, one.Door, door)
			}
		}
	}
	for digest := range want {
		got := strings.Fields(seen[digest])
		if len(got) == 0 {
			return fmt.Errorf("the log tells nothing of blob %s; it has %s", digest, sorted(seen))
		}
		for _, word := range got {
			if !slices.Contains(words, word) {
				return fmt.Errorf("blob %s was %s, want %s", digest, got, words)
			}
		}
	}
	return nil
}

func sorted(seen map[string]string) []string {
	var all []string
	for digest, words := range seen {
		all = append(all, digest+words)
	}
	sort.Strings(all)
	return all
}
