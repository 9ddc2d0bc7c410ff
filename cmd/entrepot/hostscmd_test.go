package main

import (
	"os"
	"strings"
	"testing"
)

func TestHostsCommand(t *testing.T) {
	before := "127.0.0.1 localhost\n10.0.0.1 gcr.io # ours\n"
	path := file(t, "hosts", before)
	run := func(args ...string) (string, string) {
		t.Helper()
		args = append([]string{"hosts", args[0], "--file", path}, args[1:]...)
		stdout, stderr, code := output(t, []string{"ENTREPOT_REGISTRY=reg.corp.example:5000"}, args...)
		if code != 0 {
			t.Fatalf("%v: got exit code %d: %s", args, code, stderr)
		}
		return stdout, stderr
	}
	list := func() string {
		names, _ := run("list")
		return strings.ReplaceAll(strings.TrimSpace(names), "\n", " ")
	}

	if diff, _ := run("add", "--dry-run", "quay.io"); !strings.Contains(diff, "quay.io") {
		t.Errorf("dry run: got %q, want the name in it", diff)
	}
	if got := list(); got != "" {
		t.Errorf("after a dry run: got %q, want nothing", got)
	}
	run("add", "--ip", "127.0.0.2", "--ip", "::1", "docker.io", "us.gcr.io", "reg.corp.example:5000")
	// All names of a registry, the one name of a family, and no port: /etc/hosts knows none.
	if got, want := list(), "auth.docker.io docker.io index.docker.io reg.corp.example registry-1.docker.io us.gcr.io"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, warning := run("add", "gcr.io"); !strings.Contains(warning, "entrepot: warning: line 2 already gives gcr.io the address 10.0.0.1") {
		t.Errorf("got %q, want a warning of line 2", warning)
	}
	run("remove", "docker.io", "gcr.io")
	if got, want := list(), "reg.corp.example us.gcr.io"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// A registry that is not configured any more can still be taken out, by a name that is in the block.
	stdout, stderr, code := output(t, nil, "hosts", "remove", "--file", path, "Reg.corp.example:5000")
	if got, want := list(), "us.gcr.io"; code != 0 || got != want || !strings.Contains(stdout, "reg.corp.example") {
		t.Errorf("got %d, %q, %q and %q, want %q left", code, stdout, stderr, got, want)
	}
	run("remove")
	if again, _ := run("remove"); again != "nothing to change\n" {
		t.Errorf("got %q, want nothing to change", again)
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != before {
		t.Errorf("got %q, %v, want the file as it was: %q", after, err, before)
	}
}

func TestHostsRefused(t *testing.T) {
	path := file(t, "hosts", "")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"add"}, "entrepot: hosts add: name the registries\nhint: known registries: *.azurecr.io, "},
		{[]string{"add", "quai.io"}, `entrepot: hosts add: "quai.io" is no known registry` + "\nhint: known registries: *.azurecr.io, "},
		{[]string{"add", "*.gcr.io"}, "entrepot: hosts add: *.gcr.io is a family, of which a hosts file can hold single names only\nhint: name each host that clients use, such as us.gcr.io"},
		{[]string{"add", "--ip", "here", "quay.io"}, `entrepot: --ip: got "here", want an address such as 127.0.0.1`},
		{[]string{"add", "quay.io", "--dry-run"}, `entrepot: hosts add: unexpected "--dry-run"` + "\nhint: flags stand before the names"},
		{[]string{"remove", "foo.example"}, `entrepot: hosts remove: "foo.example" is no known registry` + "\nhint: known registries: "},
		{[]string{"remove", "foo.example"}, "`entrepot hosts list` prints the names in the block"},
		{[]string{"add", "--nonsense"}, "entrepot: --nonsense: no such flag"},
	} {
		stdout, stderr, code := output(t, nil, append([]string{"hosts", c.args[0], "--file", path}, c.args[1:]...)...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: got %d, %q, %q, want 1 and %q", c.args, code, stdout, stderr, c.want)
		}
	}
	if _, stderr, code := output(t, nil, "hosts", "list", "--file", path+"/none"); code != 1 || !strings.HasPrefix(stderr, "entrepot: list overrides: ") {
		t.Errorf("got %d, %q, want an error", code, stderr)
	}
}
