//go:build race

package http2

// poolLosses are allocations more than usual: with the race detector a sync.Pool forgets one in four, to find who relies on it.
const poolLosses = 2
