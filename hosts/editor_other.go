//go:build !unix

package hosts

import (
	"io/fs"
	"os"
)

// lock does nothing where flock is not known.
func lock(*os.File) error { return nil }

// keepOwner does nothing where a new file takes its rights from its directory.
func keepOwner(*os.File, fs.FileInfo) error { return nil }
