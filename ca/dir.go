package ca

import (
	"bytes"
	"cmp"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	certName = "ca.crt"
	keyName  = "ca.key"
	// newName holds key and certificate of a CA in the making.
	newName = "ca.new"
)

// dir is the directory of the CA that entrepot made itself.
//
// No call of the file system creates two files at once, so a process may die
// between key and certificate, and two may start at the same time. Therefore
// both are first written into one file, ca.new, then ca.key and ca.crt from it,
// then ca.new goes. Whoever finds ca.new finishes the work, so everyone ends
// with the CA of the process that wrote ca.new first; and half a pair without
// ca.new is not our doing and for a person to decide. Every file appears under
// its name complete and by link, which never overwrites; no lock is needed.
type dir string

// bundle is a new CA, both parts as PEM.
type bundle struct{ key, cert []byte }

// found tells which files of the pair are there.
type found struct{ key, cert bool }

func (f found) both() bool    { return f.key && f.cert }
func (f found) neither() bool { return !f.key && !f.cert }

func (d dir) file(name string) string { return filepath.Join(string(d), name) }

// settle returns nil when both files are there, and makes or completes them
// when that is ours to do.
func (d dir) settle(limits Limits, now time.Time) error {
	have, err := d.look()
	if err != nil {
		return err
	}
	if have.both() {
		d.tidy(now)
		return nil
	}
	staged, err := d.staged()
	if errors.Is(err, fs.ErrNotExist) {
		return d.begin(have, limits, now)
	}
	if err != nil {
		return err
	}
	if err := d.finish(staged); err != nil {
		return err
	}
	d.tidy(now)
	return nil
}

// begin starts a new CA when there is none. It looks again, since another
// process may have been at work after settle looked: ca.new stands before the
// first file and vanishes only after the second, so half a pair seen before
// ca.new was missing, and still half now, is no work of ours. Half a pair seen
// only now may be work that has just begun.
func (d dir) begin(before found, limits Limits, now time.Time) error {
	have, err := d.look()
	switch {
	case err != nil || have.both():
		return err
	case have.neither():
		if err := d.stage(limits, now); err != nil {
			return err
		}
		return d.settle(limits, now)
	case before.neither():
		return d.settle(limits, now)
	}
	return d.half(have)
}

// stage writes a new CA to ca.new, unless another process was faster.
func (d dir) stage(limits Limits, now time.Time) error {
	if err := d.create(); err != nil {
		return err
	}
	key, cert, err := newRoot(limits, now)
	if err != nil {
		return err
	}
	err = d.place(newName, append(key, cert...), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (d dir) staged() (bundle, error) {
	data, err := os.ReadFile(d.file(newName))
	if err != nil {
		return bundle{}, fmt.Errorf("finish the CA begun in %s: %w", string(d), err)
	}
	_, rest := pem.Decode(data)
	b := bundle{key: data[:len(data)-len(rest)], cert: rest}
	if len(b.key) == 0 || len(b.cert) == 0 {
		return bundle{}, fmt.Errorf("finish the CA begun in %s: %s is damaged; remove it", string(d), d.file(newName))
	}
	return b, nil
}

// finish writes the pair out of ca.new, the key first.
func (d dir) finish(b bundle) error {
	err := d.place(keyName, b.key, 0o600)
	if errors.Is(err, fs.ErrExist) {
		err = d.sameKey(b.key)
	}
	if err != nil {
		return err
	}
	if err := d.place(certName, b.cert, 0o644); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// sameKey judges a ca.key that was there before ours. It is ours, or ca.new is
// of a process that came when all was done, or a person put half a pair there.
func (d dir) sameKey(key []byte) error {
	got, err := os.ReadFile(d.file(keyName))
	if err != nil {
		return fmt.Errorf("make CA in %s: %w", string(d), err)
	}
	have, err := d.look()
	if err != nil {
		return err
	}
	if !bytes.Equal(got, key) && !have.both() {
		return d.half(have)
	}
	return nil
}

// tidy drops what is left once the pair is complete: ca.new, and files that a
// dying process could not give their name, for a copy of the key may be among
// them. An error is of no consequence: nobody reads those files while both are
// there, and the next start tries again.
func (d dir) tidy(now time.Time) {
	_ = os.Remove(d.file(newName))
	old, _ := filepath.Glob(d.file(".ca.*-*"))
	for _, file := range old {
		// A younger one may be in the hands of a process that starts right now.
		if info, err := os.Lstat(file); err == nil && now.Sub(info.ModTime()) > time.Hour {
			_ = os.Remove(file)
		}
	}
}

func (d dir) look() (have found, err error) {
	if have.key, err = exists(d.file(keyName)); err != nil {
		return have, fmt.Errorf("open CA: %w; see that this user may read %s", err, string(d))
	}
	if have.cert, err = exists(d.file(certName)); err != nil {
		return have, fmt.Errorf("open CA: %w; see that this user may read %s", err, string(d))
	}
	return have, nil
}

func exists(file string) (bool, error) {
	_, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (d dir) half(have found) error {
	is, lacks := d.file(keyName), d.file(certName)
	if have.cert {
		is, lacks = lacks, is
	}
	return fmt.Errorf("open CA: %s is there but %s is not (want both or neither); put %s back from a backup, or move %s away to have a new CA made that clients must then trust",
		is, lacks, lacks, is)
}

// create makes the directory for the owner alone. One that is there is taken as
// it is, unless anybody could exchange the files in it.
func (d dir) create() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return d.unwritable(err)
	}
	return d.closed()
}

// closed refuses a directory in which anybody could exchange the files. One
// that is not there yet is none.
func (d dir) closed() error {
	info, err := os.Stat(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return d.unwritable(err)
	}
	if perm := info.Mode().Perm(); perm&0o002 != 0 {
		return fmt.Errorf("make CA in %s: everybody may write there (got mode %04o, want 0700); run: chmod 700 %s", string(d), perm, string(d))
	}
	return nil
}

// place writes a file that appears under its name complete or not at all, and
// is fs.ErrExist when the name is taken.
func (d dir) place(name string, data []byte, perm fs.FileMode) error {
	f, err := os.CreateTemp(string(d), "."+name+"-*")
	if err != nil {
		return d.unwritable(err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := cmp.Or(err, f.Chmod(perm), f.Sync(), f.Close()); err != nil {
		return d.unwritable(err)
	}
	if err := os.Link(f.Name(), d.file(name)); err != nil {
		return d.unwritable(err)
	}
	return d.sync()
}

// sync makes new names in the directory survive a loss of power.
func (d dir) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return d.unwritable(err)
	}
	if err := cmp.Or(f.Sync(), f.Close()); err != nil {
		return d.unwritable(err)
	}
	return nil
}

func (d dir) unwritable(err error) error {
	return fmt.Errorf("make CA in %s: %w; see that this user may write there and that the file system has room and hard links", string(d), err)
}
