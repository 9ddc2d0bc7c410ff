package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// figure is something measured. The order is that of the table's columns.
type figure string

// The figures.
const (
	figSpeed    figure = "MB/s"
	figTime     figure = "s"
	figCPUGiB   figure = "CPU s/GiB"
	figCPUReq   figure = "CPU ms/request"
	figRate     figure = "requests/s"
	figFirst    figure = "first byte ms"
	figLast     figure = "slowest first byte ms"
	figP50      figure = "p50 ms"
	figP99      figure = "p99 ms"
	figUpstream figure = "upstream ×"
	figAsked    figure = "upstream requests"
	figAlone    figure = "× alone"
	figPeak     figure = "peak RSS MiB"
	figRSS      figure = "RSS MiB"
	figEach     figure = "KiB each"
)

func figures() []figure {
	return []figure{
		figSpeed, figTime, figRate, figCPUGiB, figCPUReq, figFirst, figLast, figP50, figP99,
		figAlone, figUpstream, figAsked, figEach, figRSS, figPeak,
	}
}

// sample is what one turn measured.
type sample map[figure]float64

// scenario is one piece of work.
type scenario struct {
	name   string
	about  string
	ways   []string // by the first of these that a server has; without one it does not take part
	rounds int      // at most; 0: as many as are asked for
	run    func(*turn) error
	// without are servers that could take part and are spared it; about says why.
	without []string
}

// of is how often it is run where so many rounds are asked for.
func (s scenario) of(rounds int) int {
	if s.rounds > 0 {
		return min(rounds, s.rounds)
	}
	return rounds
}

// family is scenarios of one table, on servers that are started once for them.
type family struct {
	name      string
	about     string
	servers   []string // those that take part
	scenarios []scenario
}

// families are all of them, with so many objects at a restart.
func families(objects int) []family {
	return []family{warmLayers(), warmManifests(), connections(), cold(), capped(), memory(), restart(objects)}
}

// errNotForIt is the error of a scenario that a server takes no part in, though it has the way.
var errNotForIt = errors.New("not for this server")

// turn is one server's turn in one round.
type turn struct {
	bed    *bed
	server *server
	way    way
	round  int
	sample sample

	mu      sync.Mutex
	answers []answer
	began   time.Time
}

// tooLong is when a turn has shown enough: a slow server need not do all the work that a fast one needs to be measured.
const tooLong = 4 * time.Second

// enough tells whether that time has come.
func (t *turn) enough() bool { return time.Since(t.began) > tooLong }

func (t *turn) note(a answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answers = append(t.answers, a)
}

// measure runs work, which notes its answers, and takes the figures. wanted is how many bytes upstream has to send at least, 0 where
// that is not the point.
func (t *turn) measure(wanted int64, work func() error) error {
	t.answers = nil
	t.server.forgetPeak()
	cpu, sent := t.server.cpu(), t.bed.origin.sent.Load()
	t.began = time.Now()
	if err := work(); err != nil {
		return err
	}
	took := time.Since(t.began)
	cpu = t.server.cpu() - cpu
	sent = t.bed.origin.sent.Load() - sent
	var bytes int64
	var firsts, whole []time.Duration
	for _, a := range t.answers {
		bytes += a.bytes
		firsts = append(firsts, a.first)
		whole = append(whole, a.took)
	}
	slices.Sort(firsts)
	slices.Sort(whole)
	t.sample = sample{
		figTime: took.Seconds(), figSpeed: float64(bytes) / 1e6 / took.Seconds(), figRate: float64(len(t.answers)) / took.Seconds(),
		figFirst: ms(percentile(firsts, 50)), figLast: ms(percentile(firsts, 100)), figP50: ms(percentile(whole, 50)), figP99: ms(percentile(whole, 99)),
	}
	if len(t.server.commands) > 0 {
		t.sample[figCPUGiB] = cpu.Seconds() / (float64(bytes) / (1 << 30))
		t.sample[figCPUReq] = ms(cpu) / float64(len(t.answers))
		t.sample[figPeak] = float64(t.server.resident(true)) / (1 << 20)
	}
	if wanted > 0 {
		t.sample[figUpstream] = float64(sent) / float64(wanted)
	}
	return nil
}

// measureHeld is measure for what the server holds: ours fails if upstream was asked anything at all. What others ask, such as whether
// a tag is still what it was, is a figure.
func (t *turn) measureHeld(bytes int64, work func() error) error {
	o := t.bed.origin
	if err := t.quiet(50 * time.Millisecond); err != nil { // what came before may still be at it
		return err
	}
	before := o.asked.Load()
	if err := t.measure(bytes, work); err != nil {
		return err
	}
	asked := o.asked.Load() - before
	t.sample[figAsked] = float64(asked)
	if asked > 0 && t.server.isOurs() {
		return fmt.Errorf("upstream was asked %d times for what should be held, last %s", asked, *o.last.Load())
	}
	return nil
}

// quiet waits until upstream has neither sent nor been asked anything for so long.
func (t *turn) quiet(d time.Duration) error {
	o := t.bed.origin
	for {
		sent, asked := o.sent.Load(), o.asked.Load()
		if err := t.rest(d); err != nil {
			return err
		}
		if sent == o.sent.Load() && asked == o.asked.Load() {
			return nil
		}
	}
}

// keep leaves only these figures.
func (t *turn) keep(some ...figure) {
	for f := range t.sample {
		if !slices.Contains(some, f) {
			delete(t.sample, f)
		}
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}
