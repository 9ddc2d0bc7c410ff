package upstream

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

// TestValidators: a Range has the strong tag that the same host gave for the object, and none once the host did not know it again.
func TestValidators(t *testing.T) {
	const here, there, path = "reg.corp.test", "cdn01.quay.io", "/v2/app/blobs/here"
	step := func(status int, etag string) world.Fault {
		return world.Fault{Kind: world.Status, Status: status, Header: map[string]string{"Etag": etag}}
	}
	away := world.Fault{Kind: world.Status, Status: 307, Header: map[string]string{"Location": "https://" + there + "/x"}}
	for name, row := range map[string]struct {
		here, there []world.Fault // the answers, one after the other
		want        []string      // the If-Range of each request, by host
	}{
		"its own tag":     {[]world.Fault{step(200, `"a"`), step(206, `"a"`)}, nil, []string{here, here + ` "a"`}},
		"the newest":      {[]world.Fault{step(200, `"a"`), step(206, `"b"`), step(206, `"b"`)}, nil, []string{here, here + ` "a"`, here + ` "b"`}},
		"no tag":          {[]world.Fault{step(200, ""), step(206, "")}, nil, []string{here, here}},
		"a weak tag":      {[]world.Fault{step(200, `W/"a"`), step(206, `W/"a"`)}, nil, []string{here, here}},
		"not known again": {[]world.Fault{step(200, `"a"`), step(200, `"b"`), step(206, `"b"`)}, nil, []string{here, here + ` "a"`, here}},
		"refused":         {[]world.Fault{step(200, `"a"`), step(412, ""), step(206, `"a"`)}, nil, []string{here, here + ` "a"`, here}},
		"no part of it":   {[]world.Fault{step(404, `"a"`), step(206, `"b"`)}, nil, []string{here, here}},
		"elsewhere":       {[]world.Fault{step(200, `"a"`), away}, []world.Fault{step(206, `"c"`)}, []string{here, here + ` "a"`, there}},
		"behind a redirect": {
			[]world.Fault{away, away, step(206, `"a"`)},
			[]world.Fault{step(200, `"c"`), step(206, `"c"`)},
			[]string{here, there, here, there + ` "c"`, here},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPort(t)
			for _, f := range row.here {
				p.Host(here).Fault(f)
			}
			for _, f := range row.there {
				p.Host(there).Fault(f)
			}
			reg, _ := p.table.Lookup(here)
			q := Request{Registry: reg, Base: reg.UpstreamURL(here), Method: "GET", Path: path, Kind: "blob", Validators: new(Validators)}
			for i := range row.here {
				q.Header = http.Header{}
				if i > 0 {
					q.Header.Set("Range", "bytes=5-")
				}
				resp, err := p.client.Do(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			}
			if got := conditions(p); !slices.Equal(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// TestNoValidators: who asks without them makes no condition, also not with the caller's.
func TestNoValidators(t *testing.T) {
	p := newPort(t)
	if _, _, err := p.ask("reg.corp.test", "/v2/app/blobs/here", "Range", "bytes=5-", "If-Range", `"a"`); err != nil {
		t.Fatal(err)
	}
	if got := conditions(p); !slices.Equal(got, []string{"reg.corp.test"}) {
		t.Errorf("got %q, want no condition", got)
	}
}

func conditions(p *port) (all []string) {
	for _, r := range p.Requests() {
		said := r.Host
		if c := r.Header.Get("If-Range"); c != "" {
			said = fmt.Sprint(said, " ", c)
		}
		all = append(all, said)
	}
	return all
}
