//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/entrepot/entrepot/testdata/world"
)

const soakImages = 60

// soakImage is a tag that never moves.
type soakImage struct {
	registry, host string // "docker.io", "registry-1.docker.io"
	repo           string
	digest         string // of the manifest
	blobs          []soakBlob
}

type soakBlob struct {
	digest  string
	content []byte
}

// makeSoakImages fills registries of four kinds of redirects and tokens.
func makeSoakImages(t *testing.T, w *world.World, choose *rand.Rand) []soakImage {
	t.Helper()
	places := [][2]string{
		{"docker.io", "registry-1.docker.io"}, {"quay.io", "quay.io"}, {"gcr.io", "gcr.io"}, {"ghcr.io", "ghcr.io"},
	}
	var all []soakImage
	for i := range soakImages {
		at := places[i%len(places)]
		img := world.Image(t, uint64(100+i), 100+choose.Int64N(8<<10), 4<<10+choose.Int64N(1<<20), 1<<20+choose.Int64N(3<<20))
		made := soakImage{registry: at[0], host: at[1], repo: fmt.Sprintf("soak/image-%d", i)}
		made.digest = w.Push(t, at[0]+"/"+made.repo+":1", img).Digest
		made.blobs = contents(t, img)
		all = append(all, made)
	}
	return all
}

// contents are all blobs of an image, to compare with.
func contents(t *testing.T, img v1.Image) []soakBlob {
	t.Helper()
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	blobs := []soakBlob{{sum(config), config}}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		rc, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(rc)
		if err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, soakBlob{sum(body), body})
	}
	return blobs
}

// harm arms one random fault after the other, on any host, until the time is
// up. What has not struck is disarmed now and then, lest it pile up.
func (s *soak) harm(ctx context.Context) {
	choose, names := s.random(2), s.up.Names()
	struck := map[world.FaultKind]*int{}
	for round := 1; ; round++ {
		select {
		case <-ctx.Done():
			text, _ := json.Marshal(struck)
			s.t.Logf("faults armed: %s", text)
			return
		case <-time.After(time.Duration(20+choose.IntN(150)) * time.Millisecond):
		}
		if round%50 == 0 {
			s.up.Heal()
		}
		f := randomFault(choose)
		a := s.up.Host(names[choose.IntN(len(names))]).Fault(f)
		if struck[f.Kind] == nil {
			struck[f.Kind] = new(int)
		}
		*struck[f.Kind]++
		if f.Kind == world.Stall {
			time.AfterFunc(time.Duration(choose.IntN(3000))*time.Millisecond, a.Release)
		}
	}
}

func randomFault(choose *rand.Rand) world.Fault {
	kinds := []world.FaultKind{
		world.Cut, world.Reset, world.Corrupt, world.Stall, world.Slow, world.Truncate, world.WrongLength, world.Chunked,
		world.Refuse, world.Status, world.HTML, world.ContentEncoding, world.NoRange, world.WrongRange, world.Delay,
	}
	statuses := []int{429, 500, 502, 503, 504}
	f := world.Fault{
		Kind: kinds[choose.IntN(len(kinds))], At: choose.Int64N(1 << 20), Times: 1 + choose.IntN(3),
		Status: statuses[choose.IntN(len(statuses))], Body: "harm", Rate: 1 << 18, Wait: time.Duration(choose.IntN(800)) * time.Millisecond,
	}
	if choose.IntN(3) > 0 {
		f.On = world.Blob
	}
	return f
}
