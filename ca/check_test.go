package ca

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// contents are the files of a directory with their modes, to see that nothing was made or changed.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			all[path] = "directory"
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = info.Mode().String() + string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestCheck: it refuses what Open refuses, in the same words, takes what Open takes, and leaves all as it is.
func TestCheck(t *testing.T) {
	p := newTwoPairs(t)
	begun := append(bytes.Clone(p.newKey), p.newCert...)
	for _, c := range []struct {
		name  string
		files map[string][]byte
		modes map[string]os.FileMode
		want  string // "" is no fault
	}{
		{name: "no CA yet"},
		{name: "a CA", files: map[string][]byte{"ca.key": p.newKey, "ca.crt": p.newCert}},
		{name: "begun", files: map[string][]byte{"ca.new": begun}},
		{name: "half done", files: map[string][]byte{"ca.new": begun, "ca.key": p.newKey}},
		{name: "half exchanged", files: map[string][]byte{"ca.key": p.newKey, "ca.crt": p.oldCert, "ca.next.crt": p.newCert, "ca.old.key": p.oldKey, "ca.old.crt": p.oldCert}},
		{name: "mode of the key", files: map[string][]byte{"ca.key": p.newKey, "ca.crt": p.newCert}, modes: map[string]os.FileMode{"ca.key": 0o644}, want: "others than its owner may use it"},
		{name: "mode of a key to come", files: map[string][]byte{"ca.key": p.oldKey, "ca.crt": p.oldCert, "ca.next.key": p.newKey, "ca.next.crt": p.newCert}, modes: map[string]os.FileMode{"ca.next.key": 0o640}, want: "others than its owner may use it"},
		{name: "junk for a certificate", files: map[string][]byte{"ca.key": p.newKey, "ca.crt": []byte("junk")}, want: "no PEM certificate in it"},
		{name: "junk for a key", files: map[string][]byte{"ca.key": []byte("junk"), "ca.crt": p.newCert}, want: "no private key in it"},
		{name: "another's key", files: map[string][]byte{"ca.key": p.oldKey, "ca.crt": p.newCert}, want: "does not belong"},
		{name: "half a CA", files: map[string][]byte{"ca.key": p.newKey}, want: "is there but"},
		{name: "begun, with another's key", files: map[string][]byte{"ca.new": begun, "ca.key": p.oldKey}, want: "is there but"},
		{name: "begun, and damaged", files: map[string][]byte{"ca.new": []byte("junk")}, want: "is damaged; remove it"},
		{name: "for all to write", modes: map[string]os.FileMode{".": 0o777}, want: "everybody may write there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir()}
			for name, data := range c.files {
				write(t, filepath.Join(cfg.Dir, name), data, 0o600)
			}
			for name, mode := range c.modes {
				if err := os.Chmod(filepath.Join(cfg.Dir, name), mode); err != nil {
					t.Fatal(err)
				}
			}
			before := contents(t, cfg.Dir)
			err := Check(cfg)
			if c.want == "" && err != nil {
				t.Errorf("got error %v, want none", err)
			}
			if c.want != "" {
				wantError(t, err, c.want)
			}
			if after := contents(t, cfg.Dir); !maps.Equal(before, after) {
				t.Errorf("got the files %v afterwards, want them as they were: %v", after, before)
			}
			if _, opened := Open(cfg); (opened == nil) != (err == nil) || err != nil && opened.Error() != err.Error() {
				t.Errorf("got %v, want what Open says: %v", err, opened)
			}
		})
	}
	if err := Check(Config{Dir: filepath.Join(t.TempDir(), "none", "ca")}); err != nil {
		t.Errorf("no directory yet: got error %v, want none", err)
	}
	later := func() time.Time { return time.Now().AddDate(10, 0, 0) }
	cfg := Config{Dir: t.TempDir()}
	mustOpen(t, cfg)
	wantError(t, cfg.check(later), "expired on", "ca rotate")
	wantError(t, Check(Config{CertFile: "a"}), "set both or neither")
}
