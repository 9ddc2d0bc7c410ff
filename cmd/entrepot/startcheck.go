package main

import (
	"fmt"
	"time"

	"github.com/entrepot/entrepot/ca"
)

func (p program) configCheck(_ sources, c config) error {
	if err := c.checkStart(); err != nil {
		return err
	}
	p.warn(c.volumeCautions())
	// There may be none yet.
	if now, err := ca.Look(c.caConfig()); err == nil {
		table, err := c.table()
		if err != nil {
			return err
		}
		p.warn(cautions(now, table, time.Now()))
	}
	_, err := fmt.Fprintln(p.stdout, "ok")
	return err
}

// checkStart finds what a start by this user would be refused for by the machine, where load has judged the settings: all of it at once,
// and nothing is made or changed. What can come and go, such as a port that is taken, is left to the start.
func (c config) checkStart() error {
	var bad problems
	for i, addr := range c.Listen {
		if addr == "" {
			continue
		}
		if err := tryHost(addr); err != nil {
			bad = append(bad, cannotOpen(doorKinds()[i], addr, err))
		}
	}
	dirErr := canWrite(c.DataDir)
	if dirErr != nil {
		bad = append(bad, notWritable(c.DataDir, dirErr))
	}
	if dirErr == nil || c.CACert != "" { // else the CA would only repeat it
		if err := ca.Check(c.caConfig()); err != nil {
			bad = append(bad, err)
		}
	}
	return bad.orNil()
}
