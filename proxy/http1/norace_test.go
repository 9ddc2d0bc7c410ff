//go:build !race

package http1

const poolLosses = 0
