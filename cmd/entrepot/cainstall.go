package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/urfave/cli/v2"

	"github.com/entrepot/entrepot/ca"
)

// caInstall lets the programs of this machine trust the CA: all of its roots, and none that it had before. To take it out the CA need not
// be there any more.
func (p program) caInstall(c *cli.Context, cfg config) error {
	var now ca.Public
	var err error
	from, remove := c.String("from"), c.Bool("remove")
	if from != "" {
		now, err = ca.ReadRoots(from)
	} else {
		now, err = cfg.publicCA()
	}
	if err != nil && !(remove && from == "" && errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	root, err := filepath.Abs(c.String("root"))
	if err != nil {
		return fmt.Errorf("--root: %w", err)
	}
	store, err := findStore(root, runtime.GOOS)
	if err != nil {
		return err
	}
	if !remove {
		done, err := store.install(now)
		return p.changedStore(done, err, true)
	}
	done, err := store.remove(now)
	return p.changedStore(done, err, anyRemoved(done))
}

// changedStore tells what was done, also when it was not all, and the next step if there was something to do.
func (p program) changedStore(done []string, err error, anything bool) error {
	for _, line := range done {
		fmt.Fprintln(p.stdout, line)
	}
	if err != nil {
		hint := ""
		if errors.Is(err, fs.ErrPermission) || os.Geteuid() != 0 {
			hint = "it takes root: sudo entrepot ca install --data-dir DIR (root has another default directory)"
		}
		return withHint(hint, "ca install: %w", err)
	}
	if anything {
		_, err = fmt.Fprintln(p.stdout, "next: restart what reads the store only when it starts: dockerd, containerd, CRI-O, kubelet")
	}
	return err
}
