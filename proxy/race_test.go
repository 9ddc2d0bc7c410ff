//go:build race

package proxy

// poolLosses are allocations more than usual: with the race detector a sync.Pool forgets one in four, to find who relies on it, and a
// keyed hash is ten of them.
const poolLosses = 4
