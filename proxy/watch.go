package proxy

import (
	"net/http"
	"time"
)

// watch ends an answer whose client takes nothing of it. Only the time in which a piece waits for the client counts: there is no limit
// on the whole, since a large layer over a thin line may take hours, and none on upstream's silence, which is somebody else's to judge.
// A deadline on an HTTP/2 stream would run out in that silence too; so it is set only when the time is over.
type watch struct {
	patience time.Duration // zero has no end
	timer    *time.Timer
	fired    chan struct{}
}

// begin is called before a piece is written to w.
func (o *watch) begin(w http.ResponseWriter) {
	switch {
	case o.patience == 0:
	case o.timer == nil:
		o.fired = make(chan struct{}, 1)
		o.timer = time.AfterFunc(o.patience, func() {
			http.NewResponseController(w).SetWriteDeadline(time.Now()) // errs where there is none, and nobody to wait for
			o.fired <- struct{}{}
		})
	default:
		o.timer.Reset(o.patience)
	}
}

// end is called when the piece has been taken, or never will be. When it returns nothing happens to w any more.
func (o *watch) end() {
	if o.timer != nil && !o.timer.Stop() {
		<-o.fired
	}
}
