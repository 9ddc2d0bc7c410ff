package proxy

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// talkative lets a site log what is for who looks for a fault.
func talkative(c *Config) { c.Log = c.Log.Level(zerolog.DebugLevel) }

// saidOnce lets a client do the same twice, and wants a line about the door in the log each time: at info, and then at debug.
func (st *site) saidOnce(door, text string, do func()) {
	st.t.Helper()
	for _, level := range []string{"info", "debug"} {
		st.log.reset()
		do()
		st.log.until(st.t, text)
		said := st.log.String()
		if want := `{"level":"` + level + `","door":"` + door + `","client":"127.0.0.1:`; !strings.Contains(said, want) || strings.Contains(said, `"warn"`) {
			st.t.Errorf("got\n%s\nwant %s and no warning", said, want)
		}
	}
}

// TestMentions: a thing is said of each once in a while, and no more of them are remembered than a strange network could be made to fill
// the memory with.
func TestMentions(t *testing.T) {
	m, now := newMentions(time.Hour), time.Now()
	m.now = func() time.Time { return now }
	for _, step := range []struct {
		later time.Duration
		of    string
		want  bool
	}{
		{0, "a", true},
		{0, "a", false},
		{0, "b", true},
		{59 * time.Minute, "a", false},
		{time.Minute, "a", true},
		{time.Minute, "a", false},
	} {
		now = now.Add(step.later)
		if got := m.due(step.of); got != step.want {
			t.Errorf("%+v: got %v", step, got)
		}
	}
	for i := range 2 * maxMentions {
		m.due(fmt.Sprint(i))
	}
	if got := m.last.Len(); got != maxMentions {
		t.Errorf("got %d remembered, want %d", got, maxMentions)
	}
}

// TestDistrustIsLoggedOnce: a client that does not trust our CA never sends a request, so that the log would say nothing about the
// commonest fault of a first day.
func TestDistrustIsLoggedOnce(t *testing.T) {
	st := newSite(t)
	for range 3 {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := tls.Client(st.raw(doorTLS), &tls.Config{ServerName: "quay.io", MaxVersion: version})
			if err := c.Handshake(); err == nil || !strings.Contains(err.Error(), "unknown authority") {
				t.Errorf("handshake: got %v, want unknown authority", err)
			}
			c.Close()
		}
	}
	st.log.until(t, "does not trust the CA")
	if got := strings.Count(st.log.String(), "does not trust the CA"); got != 1 {
		t.Errorf("said %d times, want once\n%s", got, st.log)
	}
}

func TestDistrustful(t *testing.T) {
	for text, want := range map[string]string{
		"http: TLS handshake error from 10.0.0.7:50000: remote error: tls: bad certificate":                "10.0.0.7",
		"http: TLS handshake error from [fd00::7]:50000: remote error: tls: unknown certificate authority": "fd00::7",
		"http: TLS handshake error from 10.0.0.7:50000: local error: tls: bad record MAC":                  "10.0.0.7", // curl with OpenSSL 3
		"http: TLS handshake error from 10.0.0.7:50000: EOF":                                               "",
		"http: TLS handshake error from nonsense: remote error: tls: bad certificate":                      "",
		"http: something else": "",
	} {
		if got, ok := handshakeFailed(text, doubts); got != want && want != "" || ok != (want != "") {
			t.Errorf("%q: got %q %v, want %q", text, got, ok, want)
		}
	}
}
