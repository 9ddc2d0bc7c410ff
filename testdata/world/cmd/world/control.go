package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

// serveControl serves the control door until ctx ends.
func serveControl(ctx context.Context, l net.Listener, w *world.World) error {
	server := &http.Server{Handler: control(w), ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }() // waited for below
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	if err := server.Close(); err != nil {
		return err
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// control is what a script can ask and order.
func control(w *world.World) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /counters", func(rw http.ResponseWriter, _ *http.Request) {
		reply(rw, map[string]any{"blob_bytes": w.BlobBytes(), "hosts": w.Counts(), "leaks": w.Leaks()})
	})
	mux.HandleFunc("GET /requests", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = rw.Write([]byte(w.Story())) // the script may have left
	})
	mux.HandleFunc("GET /hosts", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = rw.Write(hostsFile(w)) // the script may have left
	})
	order(mux, "/reset", func(struct{}) error { w.Reset(); return nil })
	order(mux, "/heal", func(struct{}) error { w.Heal(); return nil })
	order(mux, "/expire", func(struct{}) error { w.ExpireURLs(); w.ExpireTokens(); return nil })
	order(mux, "/limit", func(o struct{ Left int }) error { w.RateLimit(o.Left); return nil })
	order(mux, "/fault", func(o struct {
		Host  string
		Fault world.Fault
	},
	) error {
		if !slices.Contains(w.Names(), o.Host) {
			return errors.New("no such host: " + o.Host)
		}
		if err := o.Fault.Check(); err != nil {
			return err
		}
		w.Host(o.Host).Fault(o.Fault)
		return nil
	})
	order(mux, "/repos", func(o struct{ Private, Public []string }) error { return show(w, o.Private, o.Public) })
	order(mux, "/accounts", func(o struct {
		Registry, User, Password string
		Repos                    []string
	},
	) error {
		if !w.Knows(o.Registry + "/any") {
			return errors.New("no such registry: " + o.Registry)
		}
		w.Account(o.Registry, o.User, o.Password, o.Repos...)
		return nil
	})
	return mux
}

func show(w *world.World, private, public []string) error {
	for _, repo := range append(private, public...) {
		if !w.Knows(repo) {
			return errors.New("no such registry: " + repo)
		}
	}
	for _, repo := range private {
		w.Private(repo)
	}
	for _, repo := range public {
		w.Public(repo)
	}
	return nil
}

// order adds a POST that takes JSON, or nothing.
func order[O any](mux *http.ServeMux, path string, do func(O) error) {
	mux.HandleFunc("POST "+path, func(rw http.ResponseWriter, req *http.Request) {
		var o O
		in := json.NewDecoder(req.Body)
		in.DisallowUnknownFields()
		err := error(nil)
		if req.ContentLength != 0 {
			err = in.Decode(&o)
		}
		if err == nil {
			err = do(o)
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		rw.WriteHeader(http.StatusNoContent)
	})
}

func reply(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(rw)
	out.SetIndent("", "  ")
	_ = out.Encode(v) // the script may have left
}
