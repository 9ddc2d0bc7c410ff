//go:build !race

package http2

const poolLosses = 0
