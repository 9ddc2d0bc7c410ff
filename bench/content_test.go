package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"testing"
	"testing/iotest"
)

// TestBlob: a blob has the same bytes however it is read, and they are its digest.
func TestBlob(t *testing.T) {
	noise := newNoise()
	const size = noiseSize + 12345 // once round and a bit
	one, other := newBlob(noise, 1, size), newBlob(noise, 2, size)
	if one.digest == other.digest {
		t.Errorf("got the digest %s twice", one.digest)
	}
	whole, err := io.ReadAll(one.reader())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(whole)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != one.digest || len(whole) != size {
		t.Errorf("got %d bytes of %s, want %d of %s", len(whole), got, size, one.digest)
	}
	if err := iotest.TestReader(one.reader(), whole); err != nil {
		t.Error(err)
	}
}
