package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

// serve opens the doors and keeps them open until it is told to stop. Everything that can be wrong is
// found before the first client is let in.
func (p program) serve(s sources, c config) error {
	// Before anything is opened: a signal that comes while a big cache is opened must not be lost.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	// The doors come first: who starts a second one by mistake is told of the port, not of the directory.
	doors, err := openDoors(c.Listen)
	if err != nil {
		return err
	}
	defer closeDoors(doors)
	lock, err := openDataDir(c.DataDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	lines := &batch{out: p.stdout}
	defer lines.flush()
	log := newLogger(lines, p.logFormat(c), c.LogLevel, p.colour())
	limitMemory(newEnvironment(p.environ), "/")
	limitGarbage(newEnvironment(p.environ))
	defer holdFloor()()
	h, err := openHouse(c, log)
	if err != nil {
		return err
	}
	if err := noteAdminAddress(c.DataDir, doors[adminDoor]); err != nil {
		return errors.Join(err, h.store.Close())
	}
	p.announce(c, h, doors, log)
	for _, text := range c.volumeCautions() {
		log.Warn().Msg(text)
	}
	daily := time.NewTicker(24 * time.Hour)
	defer daily.Stop()
	w := watch{
		sources: s, config: c, log: log, signals: signals, daily: daily.C, now: time.Now,
		house: h, ended: make(chan error, doorCount),
	}
	w.caution()
	w.open(doors)
	err = w.run()
	signal.Stop(signals) // from here on a signal ends the process, whatever the disk is doing
	return errors.Join(err, h.store.Close())
}

// watch stands by the open doors and does what signals say.
type watch struct {
	sources sources
	config  config
	log     zerolog.Logger
	signals <-chan os.Signal
	daily   <-chan time.Time
	now     func() time.Time
	house   *house
	doors   sync.WaitGroup
	ended   chan error // a door that was not told to
}

// open lets clients in. run waits for the doors to be shut again.
func (w *watch) open(doors [doorCount]net.Listener) {
	for i, l := range doors {
		if l == nil {
			continue
		}
		w.doors.Go(func() {
			if err := w.house.serve(i, l); err != nil {
				w.ended <- fmt.Errorf("%s door: %w", doorKinds()[i].name, err)
			}
		})
	}
}

// errStopped is the answer to a second signal.
var errStopped = errors.New("stopped at once by a second signal: running transfers were cut off")

func (w *watch) run() error {
	for {
		select {
		case err := <-w.ended:
			// A cache of which one door is dead looks alive to whoever started it; better it ends.
			return errors.Join(err, w.drain(nil))
		case <-w.daily:
			w.caution()
		case s := <-w.signals:
			if s != syscall.SIGHUP {
				w.log.Info().Str("signal", s.String()).Stringer("grace", w.config.Grace).Msg("closing: running transfers may end")
				return w.drain(s)
			}
			w.reload()
			w.caution()
		}
	}
}

// caution says what will go wrong with the CA, as long as it may.
func (w *watch) caution() {
	for _, text := range cautions(w.house.authority.Public(), w.house.table, w.now()) {
		w.log.Warn().Time("ca_not_after", w.house.authority.NotAfter()).Msg(text)
	}
}

// echo is how long the same signal may come again without being a second wish: timeout(1), sudo and others send one to the process
// and one to its group.
const echo = time.Second

// drain ends when the transfers have, when the grace is over, or at the next signal. It began with the signal first, if with any.
func (w *watch) drain(first os.Signal) error {
	began := w.now()
	ctx, cancel := context.WithTimeout(context.Background(), w.config.Grace)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- w.house.drain(ctx) }() // waited for below, but for a second signal, which ends the process
	for {
		select {
		case err := <-done:
			return w.drained(err)
		case s := <-w.signals:
			if s != syscall.SIGHUP && (s != first || w.now().Sub(began) > echo) {
				return errStopped
			}
		}
	}
}

// drained waits for the doors. Transfers that outlast the grace are cut off, which is what was asked for
// and no error: clients and fills resume.
func (w *watch) drained(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		w.log.Warn().Stringer("grace", w.config.Grace).Msg("grace is over: the last transfers were cut off")
		err = nil
	}
	w.doors.Wait()
	if err == nil {
		w.log.Info().Msg("closed")
	}
	return err
}

// reload reads the file again, and those of the CA. A broken one leaves everything as it is.
func (w *watch) reload() {
	c, err := w.sources.load()
	if err == nil {
		err = w.house.reload(c)
	}
	if err != nil {
		w.log.Error().Err(err).Msg("not reloaded: the configuration from before stays in force")
		return
	}
	line := w.log.Info()
	if later := w.config.needRestart(c); len(later) > 0 {
		line = w.log.Warn().Strs("after_restart", later)
	}
	line.Int("registries", len(c.registries())).Str("ca_sha256", w.house.authority.Fingerprint()).Int("ca_roots", len(w.house.authority.Public().Roots)).
		Msg("reloaded")
	// What needs a restart stays as it was, so that the next reload still says so.
	w.config.Grace = c.Grace
}

// needRestart are the settings that have changed and that only a start can put in force.
func (c config) needRestart(next config) []string {
	var changed []string
	for _, set := range settings(c.env) {
		if !slices.Contains(reloaded(), set.name) && c.was(set.name) != next.was(set.name) {
			changed = append(changed, set.name)
		}
	}
	return changed
}
