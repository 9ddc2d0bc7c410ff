package credentials

import (
	"bufio"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrepot/entrepot/hosts"
)

// until waits for what happens behind the back of those who ask.
func (d *desk) until(what string, is func() bool) {
	d.t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(end) {
			d.t.Fatalf("never happened: %s", what)
		}
	}
}

// TestHelperIsRenewed: who uses what a helper said never waits for it to be run again. One that fails then is told of, and what it said
// before is used on until a registry refuses it; one that has no secret any more takes it back.
func TestHelperIsRenewed(t *testing.T) {
	d := newDesk(t)
	d.helper("x", `cat "${0%/*}/answer" || exit 3; grep -q Secret "${0%/*}/answer"`)
	c := hosts.Credential{Helper: "x"}
	say := func(password string) { d.write("answer", `{"Username":"u","Secret":"`+password+`"}`) }
	said := func(password string) bool {
		a, _ := d.helped.Peek(question{"x", dockerHub})
		return a.secret.password == password
	}
	warned := func(n int) bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.warns) == n
	}
	say("one")
	d.want("first", c, "docker.io", "a", "u", "one")
	for i, step := range []struct{ was, is string }{{"one", "two"}, {"two", "three"}} {
		say(step.is)
		d.later(helperRenew + time.Minute)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if got, err := d.get(c, "docker.io", "a"); err != nil || got.password != step.was && got.password != step.is {
					t.Errorf("while it is renewed: got %q, %v", got.password, err)
				}
			})
		}
		wg.Wait()
		d.until("the helper is run again", func() bool {
			d.get(c, "docker.io", "a")
			return said(step.is)
		})
		if got := len(d.asked("x")); got != i+2 {
			t.Errorf("for 20 who ask: got %d runs, want %d", got, i+2)
		}
	}
	if err := os.Remove(d.dir + "/answer"); err != nil {
		t.Fatal(err)
	}
	for i := range 4 { // beyond the life of what it said
		d.later(helperRenew + time.Minute)
		d.until("the operator is told", func() bool {
			d.want("failing", c, "docker.io", "a", "u", "three")
			return warned(i + 1)
		})
		d.want("failed a moment ago", c, "docker.io", "a", "u", "three")
	}
	if want := "docker.io: what the helper said before is used on: docker-credential-x failed (exit status 3)"; !strings.HasPrefix(d.warns[0], want) {
		t.Errorf("warned %q, want %q", d.warns[0], want)
	}
	if got := len(d.asked("x")); got != 7 {
		t.Errorf("failing: got %d runs, want one for each pause: 7", got)
	}
	d.Refused(Secret{username: "u", password: "three"})
	if got, err := d.get(c, "docker.io", "a"); err == nil {
		t.Errorf("failing and refused: got %q, want an error", got.password)
	}
	say("four")
	d.later(helperPause + time.Second)
	d.want("mended", c, "docker.io", "a", "u", "four")
	d.write("answer", notFound)
	d.later(helperRenew + time.Minute)
	d.want("logged out, while it is asked", c, "docker.io", "a", "u", "four")
	d.until("the secret is taken back", func() bool {
		d.get(c, "docker.io", "a")
		return said("")
	})
	if _, err := d.get(c, "docker.io", "a"); !errors.Is(err, ErrNone) {
		t.Errorf("logged out: got %v, want none", err)
	}
}

// TestHelperThatIsNotUsed: what nobody asks for is not run, and what it said long ago is used by nobody.
func TestHelperThatIsNotUsed(t *testing.T) {
	d := newDesk(t)
	d.helper("x", `cat "${0%/*}/answer"`)
	d.write("answer", `{"Username":"u","Secret":"one"}`)
	d.want("first", hosts.Credential{Helper: "x"}, "quay.io", "a", "u", "one")
	d.write("answer", `{"Username":"u","Secret":"two"}`)
	d.later(helperLife)
	if got := len(d.asked("x")); got != 1 {
		t.Errorf("got %d runs, want 1", got)
	}
	d.want("at its end", hosts.Credential{Helper: "x"}, "quay.io", "a", "u", "two")
}

// TestHelperTakesItsChildrenAlong: when a helper is given up, what it has started ends too, and does not go on by the thousand.
func TestHelperTakesItsChildrenAlong(t *testing.T) {
	d := newDesk(t)
	if err := syscall.Mkfifo(d.dir+"/child", 0o600); err != nil {
		t.Fatal(err)
	}
	d.helper("x", `sh -c 'echo here; exec tail -f /dev/null' >"${0%/*}/child" & wait`)
	done := make(chan error)
	go func() {
		_, err := d.Get(t.Context(), d.registry("quay.io"), hosts.Credential{Helper: "x"}, "a")
		done <- err
	}()
	child, err := os.Open(d.dir + "/child")
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	said := bufio.NewReader(child)
	if line, err := said.ReadString('\n'); line != "here\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	d.Close()
	if err := <-done; err == nil {
		t.Error("got no error")
	}
	if err := child.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, said); err != nil {
		t.Errorf("the child lives: %v", err)
	}
}
