package main

import (
	"context"
	"fmt"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

func coldRanges(t *turn) error {
	i, err := t.fresh(layerSize)
	if err != nil {
		return err
	}
	t.server.layer = i
	t.bed.origin.line.set(200e6)
	return t.chunks(i, t.measure)
}

func warmRanges(t *turn) error {
	if t.server.layer == nil {
		if err := coldRanges(t); err != nil {
			return err
		}
	}
	if err := t.settle(); err != nil {
		return err
	}
	c := newClient(t.way)
	defer c.close()
	if _, err := c.get(t.bed.ctx, blobPath(t.server.layer, 1), ""); err != nil { // evict may have taken it out of memory
		return err
	}
	return t.chunks(t.server.layer, t.measureHeld)
}

// chunks reads a layer as containerd's parallel fetcher does: each chunk is asked for with an open end, and what comes behind it is not
// read, which ends the connection. Where nothing comes behind it, the connection is one of the two that Go's client keeps for the next
// chunk. Whoever is free takes that, once the header of the first is there.
func (t *turn) chunks(i *image, measure func(int64, func() error) error) error {
	const chunk, workers = mib, 16
	var next atomic.Int64
	begun := make(chan struct{})
	first := &httptrace.ClientTrace{GotFirstResponseByte: sync.OnceFunc(func() { close(begun) })} // may be asked for again
	all := newClient(t.way)
	defer all.close()
	err := measure(layerSize, func() error {
		return t.crowd(workers, func(ctx context.Context, _ int) error {
			c := all.twin()
			for {
				at := next.Add(chunk) - chunk
				if at >= layerSize {
					return nil
				}
				asking := ctx
				if at == 0 {
					asking = httptrace.WithClientTrace(ctx, first)
				} else {
					select {
					case <-begun:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				a, err := c.ask(asking, "GET", blobPath(i, 1), fmt.Sprintf("bytes=%d-", at), chunk)
				if err != nil {
					return err
				}
				t.note(a)
			}
		})
	})
	t.keep(figSpeed, figTime, figCPUGiB, figFirst, figLast, figUpstream, figAsked, figPeak)
	return err
}

// farRange is over when both clients have what they asked for: only then is it known what the two cost, and what upstream sent twice.
// Time and first byte are those of the range.
func farRange(t *turn) error {
	i, err := t.fresh(layerSize)
	if err != nil {
		return err
	}
	t.bed.origin.line.set(40e6)
	var far answer
	err = t.measure(layerSize, func() error {
		return t.crowd(2, func(ctx context.Context, worker int) error {
			c := newClient(t.way)
			defer c.close()
			if worker == 0 {
				return t.one(ctx, c, blobPath(i, 1), "")
			}
			if err := t.rest(300 * time.Millisecond); err != nil {
				return err
			}
			var err error
			far, err = c.get(ctx, blobPath(i, 1), span(200*mib, 201*mib))
			t.note(far)
			return err
		})
	})
	if err != nil {
		return err
	}
	t.sample[figTime], t.sample[figFirst] = far.took.Seconds(), ms(far.first)
	t.keep(figTime, figCPUGiB, figFirst, figUpstream, figPeak)
	return nil
}
