package proxy

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

const faultySize = 400 << 10

// faults of a blob's transfer, and whether they can be mended. What cannot is never ended politely and never kept.
var faults = map[string]struct {
	harm []world.Fault
	ok   bool
}{
	"cut":                    {[]world.Fault{{Kind: world.Cut, At: 100 << 10}}, true},
	"cut at the first byte":  {[]world.Fault{{Kind: world.Cut, At: 0}}, true},
	"cut at the last byte":   {[]world.Fault{{Kind: world.Cut, At: faultySize - 1}}, true},
	"cut twice":              {[]world.Fault{{Kind: world.Cut, At: 100 << 10}, {Kind: world.Cut, At: 50 << 10}}, true},
	"reset":                  {[]world.Fault{{Kind: world.Reset, At: 100 << 10}}, true},
	"no length":              {[]world.Fault{{Kind: world.Chunked}}, true},
	"resumed from zero":      {[]world.Fault{{Kind: world.Cut, At: 100 << 10}, {Kind: world.NoRange}}, true},
	"resumed by 503":         {[]world.Fault{{Kind: world.Cut, At: 100 << 10}, {Kind: world.Status, Status: 503}}, true},
	"resumed elsewhere":      {[]world.Fault{{Kind: world.Cut, At: 100 << 10}, {Kind: world.WrongRange}}, true},
	"resumed with a page":    {[]world.Fault{{Kind: world.Cut, At: 100 << 10}, {Kind: world.HTML}}, false},
	"resumed and corrupt":    {[]world.Fault{{Kind: world.Cut, At: 100 << 10}, {Kind: world.Corrupt, At: 5}}, false},
	"truncated":              {[]world.Fault{{Kind: world.Truncate, At: 200 << 10}}, false},
	"empty":                  {[]world.Fault{{Kind: world.Truncate, At: 0}}, false},
	"longer than it is":      {[]world.Fault{{Kind: world.WrongLength, At: faultySize + 1, Times: -1}}, false},
	"shorter than it is":     {[]world.Fault{{Kind: world.WrongLength, At: faultySize - 1}}, false},
	"corrupt first byte":     {[]world.Fault{{Kind: world.Corrupt, At: 0}}, false},
	"corrupt":                {[]world.Fault{{Kind: world.Corrupt, At: 200 << 10}}, false},
	"corrupt last byte":      {[]world.Fault{{Kind: world.Corrupt, At: faultySize - 1}}, false},
	"a login page":           {[]world.Fault{{Kind: world.HTML}}, false},
	"an encoding":            {[]world.Fault{{Kind: world.ContentEncoding}}, false},
	"another type":           {[]world.Fault{{Kind: world.Headers, Header: map[string]string{"Content-Type": "text/html", "Set-Cookie": "a=b"}}}, true},
	"a lie about its digest": {[]world.Fault{{Kind: world.Headers, Header: map[string]string{"Docker-Content-Digest": "sha256:00"}}}, true},
}

// TestFaults: by every way the client ends with the right bytes or with a broken transfer, and the next one gets the right bytes.
func TestFaults(t *testing.T) {
	for name, row := range faults {
		for _, w := range ways {
			if row.harm[0].Times < 0 && w != ways[0] {
				continue // takes the pauses between tries, and tells nothing new
			}
			t.Run(fmt.Sprint(name, " ", w), func(t *testing.T) {
				c := newCargo(t, faultySize)
				for _, f := range row.harm {
					f.On, f.Method = world.Blob, "GET"
					c.world.Host(corp).Fault(f)
				}
				rt, url := c.by(w), c.url(w, corp, c.path)
				a := ask(t, rt, "GET", url)
				polite := a.StatusCode == 200 && a.err == nil
				if polite && !bytes.Equal(a.body, c.content) {
					t.Errorf("a wrong body of %d bytes, politely ended", len(a.body))
				}
				if polite != row.ok {
					t.Errorf("got %d, %d bytes, %v, want success %v\n%s", a.StatusCode, len(a.body), a.err, row.ok, c.world.Story())
				}
				if a.Header.Get("Set-Cookie") != "" || a.Header.Get("Content-Encoding") != "" || a.StatusCode == 200 && a.Header.Get("Content-Type") != octetStream {
					t.Errorf("got %v, want nothing of upstream's header", a.Header)
				}
				if !row.ok && len(a.body) >= faultySize {
					t.Errorf("got %d bytes of what cannot be right, want the end withheld", len(a.body))
				}
				c.settled()
				c.world.Heal()
				again := ask(t, rt, "GET", url)
				sameBytes(t, "the next one", again.body, c.content)
				if again.StatusCode != 200 {
					t.Errorf("the next one: got %d %s", again.StatusCode, again.body)
				}
				if want := map[bool]string{true: cacheStatus[cacheHit], false: cacheStatus[cacheMiss]}[row.ok]; again.Header.Get("Cache-Status") != want {
					t.Errorf("the next one: got %q, want %q", again.Header.Get("Cache-Status"), want)
				}
			})
		}
	}
}

// TestStallReleased: silence in the middle is waited out.
func TestStallReleased(t *testing.T) {
	for _, w := range ways {
		c := newCargo(t, faultySize)
		stall := c.world.Host(corp).Fault(world.Fault{Kind: world.Stall, At: 1000, On: world.Blob, Method: "GET"})
		done := make(chan answer, 1)
		go func() {
			a, _ := try(t.Context(), c.by(w), "GET", c.url(w, corp, c.path))
			done <- a
		}()
		<-stall.Hit()
		stall.Release()
		sameBytes(t, w.String(), (<-done).body, c.content)
	}
}

// TestManifestFaults: a manifest that is not what was asked for is neither served nor kept, by tag or by digest, with HEAD or without.
func TestManifestFaults(t *testing.T) {
	for name, fault := range map[string]world.Fault{
		"corrupt":      {Kind: world.Corrupt, At: 60},
		"a login page": {Kind: world.HTML},
		"truncated":    {Kind: world.Truncate, At: 100},
		"cut":          {Kind: world.Cut, At: 100},
		"empty":        {Kind: world.Truncate, At: 0},
		"encoded":      {Kind: world.ContentEncoding},
		"another type": {Kind: world.Headers, Header: map[string]string{"Content-Type": typeOCIIndex}},
	} {
		for _, head := range []int{200, 405} {
			for _, ref := range []string{"v1", "digest"} {
				t.Run(fmt.Sprint(name, " ", ref, " HEAD ", head), func(t *testing.T) {
					st := newSite(t)
					img := world.Image(t, 3, 20<<10)
					p := st.world.Push(t, corp+"/app:v1", img)
					if ref == "digest" {
						ref = p.Digest
					}
					want, _ := img.RawManifest()
					if head != 200 {
						st.world.Host(corp).Fault(world.Fault{Kind: world.Status, Status: head, Method: "HEAD", On: world.Manifest, Times: -1})
					}
					fault.On, fault.Method = world.Manifest, "GET"
					if fault.Kind == world.Corrupt { // in a digest, where it makes another valid manifest
						at := bytes.Index(want, []byte("sha256:"))
						fault.At = int64(at + bytes.IndexAny(want[at+7:], "abcdef") + 7)
					}
					st.world.Host(corp).Fault(fault)
					rt, url := st.by(way{doorMirror, true}), st.url(ways[0], corp, "app/manifests/"+ref)
					a := ask(t, rt, "GET", url, accepting...)
					if a.StatusCode == 200 && a.err == nil && !(bytes.Equal(a.body, want) && a.Header.Get("Content-Type") == typeOCIManifest) {
						t.Errorf("got 200 %s %.60q", a.Header.Get("Content-Type"), a.body)
					}
					st.world.Heal()
					a = ask(t, rt, "GET", url, append([]string{"Cache-Control", "no-cache"}, accepting...)...)
					if a.StatusCode != 200 || a.Header.Get("Docker-Content-Digest") != p.Digest {
						t.Errorf("the next one: got %d %s", a.StatusCode, a.body)
					}
					sameBytes(t, "the next one", a.body, want)
				})
			}
		}
	}
}
