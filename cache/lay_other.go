//go:build !linux

package cache

import "errors"

// lay does nothing: see lay_linux.go.
func lay(file, int64, int64) error { return errors.ErrUnsupported }
