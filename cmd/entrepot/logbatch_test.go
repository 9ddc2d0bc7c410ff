package main

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// writes is where a log goes, write by write.
type writes []string

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

// TestBatch: lines come out in order, the first of a quiet time and what is a warning at once, the others together and soon.
func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out writes
		b := &batch{out: &out}
		log := zerolog.New(b)
		say := func(level zerolog.Level, text string) { log.WithLevel(level).Msg(text) }
		see := func(when string, want ...string) {
			t.Helper()
			b.mu.Lock()
			defer b.mu.Unlock()
			var got []string
			for _, w := range out {
				got = append(got, strings.NewReplacer(`{"level":"info","message":"`, "", `{"level":"warn","message":"`, "", "\"}\n", "").Replace(w))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: got %q, want %q", when, got, want)
			}
		}
		say(zerolog.InfoLevel, "a")
		see("behind a silence", "a")
		say(zerolog.InfoLevel, "b")
		say(zerolog.InfoLevel, "c")
		see("in a busy moment", "a")
		time.Sleep(batchTime)
		synctest.Wait()
		see("after it", "a", "bc")
		say(zerolog.InfoLevel, "d")
		say(zerolog.WarnLevel, "e")
		see("at a warning", "a", "bc", "de")
		io.WriteString(b, "f")
		see("for people", "a", "bc", "de", "f")
		say(zerolog.InfoLevel, "g")
		b.flush()
		see("at the end", "a", "bc", "de", "f", "g")
		time.Sleep(time.Second)
		synctest.Wait()
		say(zerolog.InfoLevel, "h")
		see("much later", "a", "bc", "de", "f", "g", "h")
	})
}

// TestBatchSize: what has gathered is bounded, whatever the time.
func TestBatchSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out writes
		b := &batch{out: &out}
		line := []byte(strings.Repeat("x", batchSize/4))
		for range 5 {
			b.WriteLevel(zerolog.InfoLevel, line)
		}
		if len(out) != 2 || len(out[1]) != batchSize {
			t.Errorf("got %d writes, want one line and then %d bytes of them", len(out), batchSize)
		}
	})
}

// TestBatchError: a log that cannot be written is zerolog's to tell, as without the batch.
func TestBatchError(t *testing.T) {
	b := &batch{out: brokenLog{}}
	if _, err := b.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v, want the writer's error", err)
	}
	if len(b.lines) != 0 {
		t.Errorf("got %d bytes kept, want none: they would grow for ever", len(b.lines))
	}
}

type brokenLog struct{}

func (brokenLog) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestClock: a line has its own millisecond, in the zone of the moment.
func TestClock(t *testing.T) {
	var out writes
	at := time.Date(2026, 12, 31, 23, 59, 59, 7e6, time.UTC)
	log := zerolog.New(&out).Hook(&clock{now: func() time.Time { return at }})
	for _, row := range []struct {
		at   time.Time
		want string
	}{
		{at, "2026-12-31T23:59:59.007Z"},
		{at.Add(92 * time.Millisecond), "2026-12-31T23:59:59.099Z"},
		{at.Add(992 * time.Millisecond), "2026-12-31T23:59:59.999Z"},
		{at.Add(993 * time.Millisecond), "2027-01-01T00:00:00.000Z"},
		{at.In(time.FixedZone("", -3600*7/2)), "2026-12-31T20:29:59.007-03:30"},
	} {
		at, out = row.at, nil
		log.Info().Send()
		if want := `{"level":"info","time":"` + row.want + "\"}\n"; len(out) != 1 || out[0] != want {
			t.Errorf("got %q, want %q", out, want)
		}
	}
}
