package ca

import (
	"cmp"
	"fmt"
	"io/fs"
	"time"
)

// A change-over from one root to the next has three steps, so that a client can
// verify leaves at any moment: Announce makes the next pair, Switch lets it sign,
// Finish drops the old one. Between the steps the operator lets clients learn,
// and Reload puts each step in force. SwitchBack undoes Switch.
//
// A step may die anywhere: see pair.

// Init makes a CA where there is none, as the first start would, with limits.
// It never touches one that exists: that is fs.ErrExist.
func Init(cfg Config, limits Limits) error { return initAt(cfg, limits, time.Now()) }

func initAt(cfg Config, limits Limits, now time.Time) error {
	d, err := cfg.ownDir("made")
	if err != nil {
		return err
	}
	have, err := d.look()
	if err != nil {
		return err
	}
	begun, err := exists(d.file(newName))
	switch {
	case err != nil:
		return fmt.Errorf("make CA in %s: %w", string(d), err)
	case have.both():
		return fmt.Errorf("make CA in %s: %w: %s stays as it is; `ca rotate` makes one to follow it", string(d), fs.ErrExist, d.file(certName))
	case begun:
		return fmt.Errorf("make CA in %s: %w: another process has begun one; the next start finishes it", string(d), fs.ErrExist)
	}
	if err := d.settle(limits, now); err != nil {
		return err
	}
	made, err := Look(cfg)
	if err == nil && limits.Any() && !made.Roots[0].Limits().Any() {
		return fmt.Errorf("make CA in %s: %w: another process made one at the same time, without limits; see `ca show`", string(d), fs.ErrExist)
	}
	return err
}

// Announce makes the next root beside the one that signs.
func Announce(cfg Config, limits Limits) error { return announceAt(cfg, limits, time.Now()) }

func announceAt(cfg Config, limits Limits, now time.Time) error {
	return cfg.step(func(d dir, is Public) error {
		// A next root that has ended before it was needed is in the way of none.
		if at := is.Phase; at == Switched || at == Announced && now.Before(is.Roots[1].Cert.NotAfter) {
			return fmt.Errorf("rotate CA in %s: a change-over is under way (got phase %s, want steady); %s", string(d), at, at.Next())
		}
		key, cert, err := newRoot(limits, now)
		if err != nil {
			return err
		}
		// A key without a certificate is of a step that died. Nobody trusts it.
		if err := d.drop(nextPair); err != nil {
			return err
		}
		if err := d.place(nextPair.key(), key, 0o600); err != nil {
			return err
		}
		return d.place(nextPair.cert(), cert, 0o644)
	})
}

// Switch lets the next root sign. The one before stays, to be given out to
// clients and to go back to.
func Switch(cfg Config) error {
	return cfg.step(func(d dir, is Public) error {
		if at := is.Phase; at != Announced {
			return fmt.Errorf("rotate CA in %s: there is no next root to switch to (got phase %s, want announced); %s", string(d), at, at.Next())
		}
		return d.exchange(nextPair, oldPair, time.Now())
	})
}

// SwitchBack undoes Switch, for clients that turn out not to trust the new root
// yet.
func SwitchBack(cfg Config) error {
	return cfg.step(func(d dir, is Public) error {
		if at := is.Phase; at != Switched {
			return fmt.Errorf("rotate CA in %s: there is no old root to go back to (got phase %s, want switched); %s", string(d), at, at.Next())
		}
		return d.exchange(oldPair, nextPair, time.Now())
	})
}

// Finish ends a change-over: the old key is removed, and then the old root.
func Finish(cfg Config) error {
	return cfg.step(func(d dir, is Public) error {
		if at := is.Phase; at != Switched {
			return fmt.Errorf("rotate CA in %s: there is no old root to drop (got phase %s, want switched); %s", string(d), at, at.Next())
		}
		// What a dead SwitchBack left is a second name of the pair that signs.
		return cmp.Or(d.drop(oldPair), d.drop(nextPair))
	})
}

// Next is what to do in this phase, for people.
func (p Phase) Next() string {
	switch p {
	case Announced:
		return "once clients trust both roots: entrepot ca rotate --switch"
	case Switched:
		return "once all goes well: entrepot ca rotate --finish"
	}
	return "begin with: entrepot ca rotate"
}

// ownDir is the directory of a CA that is ours to change.
func (c Config) ownDir(what string) (dir, error) {
	from, err := c.source()
	if err != nil {
		return "", err
	}
	if !from.made {
		return "", fmt.Errorf("the CA in %s is yours and not %s here; put other files in place of %s and %s, and let the server read them by SIGHUP",
			from.cert, what, from.cert, from.key)
	}
	return dir(c.Dir), nil
}

// step does one step of a change-over, alone, and behind one that died.
func (c Config) step(do func(dir, Public) error) error {
	d, err := c.ownDir("rotated")
	if err != nil {
		return err
	}
	have, err := d.look()
	if err != nil {
		return err
	}
	if !have.both() {
		return fmt.Errorf("rotate CA in %s: no CA is there (want %s and %s); make one with: entrepot ca init", string(d), certName, keyName)
	}
	return d.locked(func() error {
		if err := d.straighten(); err != nil {
			return err
		}
		now, err := Look(c)
		if err != nil {
			return err
		}
		return do(d, now)
	})
}
