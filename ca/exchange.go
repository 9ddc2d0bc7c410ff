package ca

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// pair names two files: NAME.crt and NAME.key.
//
// The pair that signs is ca.key and the certificate that belongs to it. So the
// exchange of two pairs happens in one moment, the rename of the other key to
// ca.key. What was done before it, second names for the pair that signs, is
// harmless and done again; what comes after it straighten finishes. A pair is
// there when its certificate is: its key comes before and goes before.
type pair string

const (
	mainPair pair = "ca"      // signs
	nextPair pair = "ca.next" // will sign; clients are to trust it before
	oldPair  pair = "ca.old"  // has signed; clients may trust nothing else yet
)

func (p pair) cert() string { return string(p) + ".crt" }
func (p pair) key() string  { return string(p) + ".key" }

// checkModes refuses keys of a change-over that others than their owner may use.
func (d dir) checkModes() error {
	for _, p := range []pair{nextPair, oldPair} {
		info, err := os.Stat(d.file(p.key()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read CA key: %w", err)
		}
		if err := checkMode(d.file(p.key()), info); err != nil {
			return err
		}
	}
	return nil
}

// exchange lets the pair in sign, and gives that which signs now the name out.
func (d dir) exchange(in, out pair, now time.Time) error {
	next := source{cert: d.file(in.cert()), key: d.file(in.key()), made: true}
	is, err := readIssuer(next, now)
	if err != nil {
		return err
	}
	key, err := readKey(next.key, "")
	if err != nil {
		return err
	}
	if err := is.matches(key); err != nil {
		return err
	}
	if err := cmp.Or(d.also(keyName, out.key()), d.also(certName, out.cert())); err != nil {
		return err
	}
	if err := d.rename(in.key(), keyName); err != nil { // now it has happened
		return err
	}
	return d.straighten()
}

// straighten finishes an exchange: it gives the certificate that belongs to
// ca.key the name ca.crt, if it has another one.
func (d dir) straighten() error {
	p, err := d.signs()
	if err != nil || p == mainPair || p == "" {
		return err // a key of nobody's is for Open to say
	}
	return d.rename(p.cert(), certName)
}

// signs finds the pair whose certificate belongs to ca.key; "" is none.
func (d dir) signs() (pair, error) {
	key, err := readKey(d.file(keyName), "")
	if err != nil {
		return "", err
	}
	for _, p := range []pair{mainPair, nextPair, oldPair} {
		is := issuer{from: source{cert: d.file(p.cert()), key: d.file(keyName)}}
		is.chain, err = readChain(is.from.cert)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if is.matches(key) == nil {
			return p, nil
		}
	}
	return "", nil
}

// also gives a file a second name, which it may have already.
func (d dir) also(name, second string) error {
	err := os.Link(d.file(name), d.file(second))
	if errors.Is(err, fs.ErrExist) {
		return d.alike(name, second)
	}
	if err != nil {
		return d.unwritable(err)
	}
	return d.sync()
}

func (d dir) alike(name, second string) error {
	one, err := os.ReadFile(d.file(name))
	if err != nil {
		return d.unwritable(err)
	}
	two, err := os.ReadFile(d.file(second))
	if err != nil {
		return d.unwritable(err)
	}
	if !bytes.Equal(one, two) {
		return fmt.Errorf("rotate CA in %s: %s is there and is not what was to be put there; move it away", string(d), d.file(second))
	}
	return nil
}

func (d dir) rename(from, to string) error {
	if err := os.Rename(d.file(from), d.file(to)); err != nil {
		return d.unwritable(err)
	}
	return d.sync()
}

// drop removes a pair, the key first.
func (d dir) drop(p pair) error {
	for _, name := range []string{p.key(), p.cert()} {
		if err := os.Remove(d.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return d.unwritable(err)
		}
		if err := d.sync(); err != nil {
			return err
		}
	}
	return nil
}

// locked runs f while no other process does the like. The directory itself is
// locked, so that no file is needed; a file system without locks is no reason to
// refuse, for people do not rotate one CA twice in the same millisecond.
func (d dir) locked(f func() error) error {
	handle, err := os.Open(string(d))
	if err != nil {
		return d.unwritable(err)
	}
	_ = syscall.Flock(int(handle.Fd()), syscall.LOCK_EX)
	return cmp.Or(f(), handle.Close())
}
