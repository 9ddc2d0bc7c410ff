//go:build e2e

package e2e

import "testing"

// client is a program that pulls images.
type client interface {
	pull(ref string) (output string, err error)
	remove(t *testing.T, ref string)
}

// pull pulls and fails the test if that fails.
func pull(t *testing.T, c client, ref string) {
	t.Helper()
	if out, err := c.pull(ref); err != nil {
		t.Fatalf("pull %s: %v\n%s", ref, err, out)
	}
}

// pullDirectly is the procedure of all direct tests: what entrepot is measured
// against. Both pulls must move every blob, which proves that the client had
// removed all of the image and that the counters count.
func (u *upstream) pullDirectly(t *testing.T, c client, refs ...string) {
	t.Helper()
	for _, ref := range refs {
		want := u.image(ref).blobBytes()
		for _, round := range []string{"first", "second"} {
			before := u.BlobBytes()
			pull(t, c, ref)
			if got := u.BlobBytes() - before; got < want {
				t.Errorf("%s pull of %s moved %d blob bytes, want at least %d", round, ref, got, want)
			}
			c.remove(t, ref)
		}
	}
}

// pullTwice is the procedure of all tests through entrepot: the cold pull
// works and is a miss, the image is removed, the second pull works, no blob
// byte came from upstream, and the log tells HIT for each blob.
func (e *entrepot) pullTwice(t *testing.T, c client, door string, refs ...string) {
	t.Helper()
	for _, ref := range refs {
		e.pullAs(t, c, ref, ref, door)
	}
}

// pullAs is pullTwice for one image that the client knows by another name.
func (e *entrepot) pullAs(t *testing.T, c client, ref, name, door string) {
	t.Helper()
	img := e.up.image(name)
	cold := []string{"MISS", "COLLAPSED"}
	if e.warm { // the images have content in common, which is kept once
		cold = append(cold, "HIT")
	}
	e.warm = true
	start := e.mark(t)
	pull(t, c, ref)
	e.blobs(t, start, img.native, door, cold...)
	c.remove(t, ref)

	before, again := e.up.BlobBytes(), e.mark(t)
	pull(t, c, ref)
	e.up.NoMoreBlobBytes(t, before)
	e.blobs(t, again, img.native, door, "HIT")
	c.remove(t, ref)
}
