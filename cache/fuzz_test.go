package cache

import (
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
