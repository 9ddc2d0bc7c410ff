package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/entrepot/entrepot/ca"
)

// caInit makes the CA without a server.
func (p program) caInit(c *cli.Context, cfg config) error {
	if err := cfg.ownsCA(); err != nil {
		return err
	}
	var limits ca.Limits
	if c.Bool("constrain") {
		var err error
		if limits, err = cfg.caLimits(); err != nil {
			return err
		}
	}
	if err := ca.Init(cfg.caConfig(), limits); err != nil {
		return err
	}
	return p.didCA(cfg, "made a CA", "let clients trust it: `entrepot ca install` on this machine, `entrepot ca export` for others")
}

// caRotate does one step of a change-over.
func (p program) caRotate(c *cli.Context, cfg config) error {
	if err := cfg.ownsCA(); err != nil {
		return err
	}
	step, given := "", 0
	for _, name := range []string{"switch", "back", "finish"} {
		if c.Bool(name) {
			step = name
			given++
		}
	}
	if given > 1 {
		return withHint("clients learn between the steps", "ca rotate: got %d steps at once, want one", given)
	}
	if step != "" && c.IsSet("constrain") {
		return withHint("limits are set when the next root is made, by `entrepot ca rotate`", "ca rotate: --constrain does not go with --%s", step)
	}
	const signal = "send SIGHUP to the running entrepot (systemctl reload, docker kill --signal HUP) or restart it, then "
	switch step {
	case "switch":
		return p.rotated(cfg, ca.Switch(cfg.caConfig()), "the new root signs; both are given out, and the old key is kept to go back",
			signal+"see that clients pull, and end with `entrepot ca rotate --finish`, or go back with `entrepot ca rotate --back`")
	case "back":
		return p.rotated(cfg, ca.SwitchBack(cfg.caConfig()), "the root from before signs again; both are given out",
			signal+"let the rest of the clients trust both, and `entrepot ca rotate --switch` again")
	case "finish":
		return p.rotated(cfg, ca.Finish(cfg.caConfig()), "the old root is not given out any more, and its key is removed",
			signal+"take the old root out of the clients' stores, here by `entrepot ca install`; backups of the old key are yours to remove")
	}
	limits, err := cfg.nextLimits(c)
	if err != nil {
		return err
	}
	return p.rotated(cfg, ca.Announce(cfg.caConfig(), limits), "made the next root; the one before still signs, and both are given out",
		signal+"let every client trust both (`entrepot ca install`, `entrepot ca export` or /ca.crt), restart their daemons, and go on with `entrepot ca rotate --switch`")
}

func (p program) rotated(cfg config, err error, did, next string) error {
	if err != nil {
		return err
	}
	return p.didCA(cfg, did, next)
}

// nextLimits are what was asked for, or limits again where there were limits: a rotation is not to weaken
// a CA behind its operator's back.
func (c config) nextLimits(said *cli.Context) (ca.Limits, error) {
	constrain := said.Bool("constrain")
	if !said.IsSet("constrain") {
		now, err := c.publicCA()
		if err != nil {
			return ca.Limits{}, err
		}
		constrain = now.Ours() && now.Roots[0].Limits().Any()
	}
	if !constrain {
		return ca.Limits{}, nil
	}
	return c.caLimits()
}

// didCA tells what was done and what is there now.
func (p program) didCA(c config, did, next string) error {
	now, err := c.publicCA()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s\n\n%s\nnext: %s\n", did, card(now), next)
	return err
}

// ownsCA refuses to make keys that the server could not read: with sudo they would be root's, and the
// next start would fail.
func (c config) ownsCA() error {
	for _, path := range []string{filepath.Join(c.DataDir, "ca", "ca.key"), filepath.Join(c.DataDir, "ca"), c.DataDir} {
		info, err := os.Stat(path)
		if err != nil {
			continue // what is wrong with it is said by whoever needs it
		}
		if owner, ok := ownerOf(info); ok && owner != os.Geteuid() && c.CACert == "" {
			return withHint(fmt.Sprintf("run it as that user: sudo -u '#%d' entrepot ca …", owner),
				"%s belongs to user %d, and a key made by user %d could not be read by it", path, owner, os.Geteuid())
		}
		return nil
	}
	return nil
}

func ownerOf(info fs.FileInfo) (int, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}
