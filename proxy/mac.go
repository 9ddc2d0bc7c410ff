package proxy

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"sync"
)

// macs makes fingerprints of secrets, by a key that nobody knows and that ends with the process: what is remembered by them says nothing
// to who reads the memory. Pooled, since a hit by a credential should make no garbage.
type macs struct{ pool sync.Pool }

func newMACs() *macs {
	key := make([]byte, 32)
	rand.Read(key)
	return &macs{sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, key)} }}}
}

// mac makes one fingerprint at a time.
type mac struct {
	hash.Hash
	text []byte
	sum  [sha256.Size]byte
}

// of is the fingerprint of some parts, none of which has a between in it that could shift them, and none of which stays here.
func (s *macs) of(between byte, parts ...string) [sha256.Size]byte {
	m := s.pool.Get().(*mac)
	defer s.pool.Put(m)
	m.Reset()
	for _, p := range parts {
		m.text = append(append(m.text, p...), between)
	}
	m.Write(m.text)
	clear(m.text)
	m.text = m.text[:0]
	m.Sum(m.sum[:0])
	return m.sum
}
