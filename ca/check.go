package ca

import (
	"errors"
	"io/fs"
	"time"
)

// Check returns what Open would refuse cfg for, and makes and changes nothing.
// That no CA is there yet is no fault: Open makes one.
func Check(cfg Config) error { return cfg.check(time.Now) }

func (c Config) check(now func() time.Time) error {
	from, err := c.source()
	if err != nil {
		return err
	}
	if from.made {
		if there, err := dir(c.Dir).judge(); err != nil || !there {
			return err
		}
	}
	_, err = c.read(from, now)
	if !errors.Is(err, errForeignKey) || !from.made {
		return err
	}
	// Half exchanged, which Open would straighten.
	p, lost := dir(c.Dir).signs()
	if lost != nil || p == "" {
		return err
	}
	from.cert = dir(c.Dir).file(p.cert())
	_, err = c.read(from, now)
	return err
}

// judge tells whether both files are there, or else what would hinder settle
// from making or completing them.
func (d dir) judge() (there bool, err error) {
	before, err := d.look()
	if err != nil || before.both() {
		return err == nil, err
	}
	staged, err := d.staged()
	if err == nil && before.key {
		return false, d.sameKey(staged.key)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	have, err := d.look() // again, for the reason that begin has
	switch {
	case err != nil || have.both():
		return err == nil, err
	case !have.neither() && !before.neither():
		return false, d.half(have)
	}
	return false, d.closed()
}
