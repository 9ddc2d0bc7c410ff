package cache

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func FuzzParseDigest(f *testing.F) {
	for _, s := range []string{"", ":", "sha256:", "sha256:" + strings.Repeat("a", 64), "sha512:" + strings.Repeat("0", 128), "md5:00", "sha256:../" + strings.Repeat("a", 61)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDigest(s)
		if err != nil {
			return
		}
		if d.String() != s || strings.ContainsAny(s, "/.\\\x00 ") || !d.long() && d.key() == (key{}) && strings.Trim(s[7:], "0") != "" {
			t.Errorf("%q became %v", s, d)
		}
		_ = newLayout("dir").blob(d)
	})
}

func FuzzParseTag(f *testing.F) {
	f.Add([]byte(`{"registry":"docker.io","repo":"library/alpine","tag":"3","digest":"sha256:` + strings.Repeat("a", 64) + `","seen":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, tag, err := parseTag(b); err == nil && tag.Digest.IsZero() {
			t.Errorf("%q is a tag of nothing", b)
		}
	})
}

// FuzzReadNote: what stands beside a partial or a blob after a crash may be anything; nothing of it leads beyond the object.
func FuzzReadNote(f *testing.F) {
	for _, s := range []string{`{"size":10,"frontier":5,"sum":"00"}`, `{"frontier":-1}`, `{"size":1,"frontier":2}`, `{"size":-2,"frontier":9223372036854775807}`, `[]`, ``} {
		f.Add([]byte(s))
	}
	name := filepath.Join(f.TempDir(), "note")
	f.Fuzz(func(t *testing.T, b []byte) {
		check(t, os.WriteFile(name, b, 0o600))
		if n, err := readNote(name); err == nil && (n.Frontier < 0 || n.Size >= 0 && n.Frontier > n.Size) {
			t.Errorf("%q: got %+v", b, n)
		}
		if m, err := readMeta(name); err == nil && m.Size < 0 {
			t.Errorf("%q: got %+v", b, m)
		}
	})
}
