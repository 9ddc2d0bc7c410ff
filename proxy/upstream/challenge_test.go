package upstream

import (
	"strings"
	"testing"
)

// TestMoveRealms: of a field, the token realms that are to be elsewhere are moved, and nothing else is touched.
func TestMoveRealms(t *testing.T) {
	to := func(realm string) string { return strings.Replace(realm, "https://in:1/", "https://out/", 1) }
	for _, row := range []struct{ field, want string }{
		{`Bearer realm="https://in:1/a",service="https://in:1/a"`, `Bearer realm="https://out/a",service="https://in:1/a"`},
		{`Bearer service="https://in:1/a",realm="https://in:1/a"`, `Bearer service="https://in:1/a",realm="https://out/a"`},
		{`Bearer error_uri="https://in:1/a/help" , Realm = "https://in:1/a" , x=y`, `Bearer error_uri="https://in:1/a/help" , Realm = "https://out/a" , x=y`},
		{`Basic realm="https://in:1/a", Bearer realm="https://in:1/a"`, `Basic realm="https://in:1/a", Bearer realm="https://out/a"`},
		{`BEARER realm="https:\/\/in:1\/a"`, `BEARER realm="https://out/a"`},
		{`Bearer realm="https://in:1/a\"\\b",x="\""`, `Bearer realm="https://out/a\"\\b",x="\""`},
		{`Bearer realm="https://in:1/a", Bearer realm="https://in:1/b", Negotiate`, `Bearer realm="https://out/a", Bearer realm="https://out/b", Negotiate`},
		{`Bearer realm="https://in:1/a", realm="https://in:1/b"`, `Bearer realm="https://in:1/a", realm="https://out/b"`},
		{`Bearer realm="https://in:1/unfinished`, `Bearer realm="https://out/unfinished"`},
		{`Bearer realm=""`, ""},
		{`Bearer`, ""},
		{``, ""},
		{`, ,=`, ""},
		{`Digest realm="https://in:1/a"`, ""},
		{`Bearer  realm="https://other/"  ,`, ""},
	} {
		want := row.want
		if want == "" {
			want = row.field
		}
		if got := MoveRealms(row.field, to); got != want {
			t.Errorf("%s:\n got %s,\nwant %s", row.field, got, want)
		}
	}
}
