package upstream

import (
	"errors"
	"testing"
)

// TestErrorNamesWhoWasAsked: the host that failed, and the registry whose business it was where that is another name.
func TestErrorNamesWhoWasAsked(t *testing.T) {
	for want, e := range map[string]Error{
		"ask quay.io: no":                   {Registry: "quay.io"},
		"ask ghcr.io: no":                   {Registry: "ghcr.io", Host: "ghcr.io"},
		"ask cdn01.quay.io for quay.io: no": {Registry: "quay.io", Host: "cdn01.quay.io"},
		"ask example.org: no":               {Host: "example.org"},
	} {
		e.Err = errors.New("no")
		if got := e.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
