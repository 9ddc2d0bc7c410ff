package cache

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// Digest names content by its hash, "sha256:<64 hex>" or "sha512:<128 hex>". It is a comparable value and is made only by
// [ParseDigest] and [DigestOf], so that whatever holds one is safe to build a file name from (OCI image-spec, descriptor.md#digests).
type Digest struct{ s string }

// ParseDigest judges text from outside: a known algorithm and exactly its length of lower-case hex.
func ParseDigest(s string) (Digest, error) {
	algorithm, encoded, found := strings.Cut(s, ":")
	if !found {
		return Digest{}, fmt.Errorf("digest %.80q has no algorithm, want sha256:<64 hex digits>", s)
	}
	want := hexLength(algorithm)
	if want == 0 {
		return Digest{}, fmt.Errorf("digest algorithm %.20q is not supported, want sha256 or sha512", algorithm)
	}
	if len(encoded) != want {
		return Digest{}, fmt.Errorf("%s digest has %d hex digits, want %d", algorithm, len(encoded), want)
	}
	for i := range len(encoded) {
		if c := encoded[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return Digest{}, fmt.Errorf("%s digest has %q, want lower-case hex digits only", algorithm, c)
		}
	}
	return Digest{s}, nil
}

// DigestOf is the sha256 digest of b.
func DigestOf(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest{"sha256:" + hex.EncodeToString(sum[:])}
}

func hexLength(algorithm string) int {
	switch algorithm {
	case "sha256":
		return 2 * sha256.Size
	case "sha512":
		return 2 * sha512.Size
	}
	return 0
}

func (d Digest) String() string { return d.s }

// IsZero tells whether d names nothing.
func (d Digest) IsZero() bool { return d.s == "" }

// split takes d apart. The zero Digest gets a name that nothing has, so that asking for it is a miss like any other.
func (d Digest) split() (algorithm, encoded string) {
	if d.IsZero() {
		return "none", strings.Repeat("0", hexLength("sha256"))
	}
	algorithm, encoded, _ = strings.Cut(d.s, ":")
	return algorithm, encoded
}

// Matches tells whether b is the content that d names.
func (d Digest) Matches(b []byte) bool {
	h := d.hash()
	h.Write(b)
	return d.is(h)
}

func (d Digest) hash() hash.Hash {
	if d.long() {
		return sha512.New()
	}
	return sha256.New()
}

func (d Digest) is(h hash.Hash) bool {
	_, encoded := d.split()
	return hex.EncodeToString(h.Sum(nil)) == encoded
}
