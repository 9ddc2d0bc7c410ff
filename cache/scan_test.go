package cache

import (
	"runtime/debug"
	"testing"
)

// TestScanKeepsTheOperatorsGarbage: the scan raised a GOGC that was lower than its own, and turned on a collector that was off.
func TestScanKeepsTheOperatorsGarbage(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	for _, row := range []struct{ before, want int }{{100, scanGarbage}, {10, 10}, {-1, -1}} {
		debug.SetGCPercent(row.before)
		release := collectMore()
		meanwhile := debug.SetGCPercent(row.want)
		release()
		if after := debug.SetGCPercent(100); meanwhile != row.want || after != row.before {
			t.Errorf("%d before: got %d meanwhile and %d after, want %d and as before", row.before, meanwhile, after, row.want)
		}
	}
}
