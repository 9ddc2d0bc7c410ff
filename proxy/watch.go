package proxy

import (
	"net/http"
	"sync"
	"time"
)

// watch ends an answer whose client takes nothing of it. Only the time in which a piece waits for the client counts: there is no limit
// on the whole, since a large layer over a thin line may take hours, and none on upstream's silence, which is somebody else's to judge.
// A deadline on an HTTP/2 stream would run out in that silence too; so it is set only when the time is over.
type watch struct {
	patience time.Duration // zero has no end
	*sentinel
}

// sentinel stands by while one piece is written. It is used again: made anew for each answer it was two of three allocations of a hit.
type sentinel struct {
	timer *time.Timer
	fired chan struct{}
	over  http.ResponseWriter
}

var sentinels = sync.Pool{New: func() any {
	s := &sentinel{fired: make(chan struct{}, 1)}
	s.timer = time.AfterFunc(time.Hour, s.cut)
	s.timer.Stop()
	return s
}}

// cut ends the piece. It errs where there is no deadline, and nobody to wait for.
func (s *sentinel) cut() {
	http.NewResponseController(s.over).SetWriteDeadline(time.Now())
	s.fired <- struct{}{}
}

// begin is called before a piece is written to w.
func (o *watch) begin(w http.ResponseWriter) {
	if o.patience == 0 {
		return
	}
	o.sentinel = sentinels.Get().(*sentinel)
	o.over = w
	o.timer.Reset(o.patience)
}

// end is called when the piece has been taken, or never will be. When it returns nothing happens to w any more.
func (o *watch) end() {
	if o.sentinel == nil {
		return
	}
	if !o.timer.Stop() {
		<-o.fired
	}
	o.over = nil
	sentinels.Put(o.sentinel)
	o.sentinel = nil
}
