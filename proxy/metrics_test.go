package proxy

import (
	"strings"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

// TestMetrics: the names that dashboards rely on are there after a pull, and count what happened.
func TestMetrics(t *testing.T) {
	st := newSite(t)
	st.world.Push(t, "docker.io/library/alpine:3.20", world.Image(t, 1, 100<<10))
	for range 2 {
		st.pull(doorMirror, "docker.io/library/alpine:3.20")
		st.settled()
	}
	st.log.await(t, kindBlob, 4)
	_, body := st.get("admin", "http://"+st.doors["admin"]+"/metrics")
	for _, want := range []string{
		`entrepot_requests_total{cache="MISS",door="mirror",kind="blob",registry="docker.io"} 2`,
		`entrepot_requests_total{cache="HIT",door="mirror",kind="blob",registry="docker.io"} 2`,
		`entrepot_served_bytes_total{registry="docker.io",source="cache"}`,
		`entrepot_served_bytes_total{registry="docker.io",source="upstream"}`,
		`entrepot_upstream_requests_total{kind="blob",registry="docker.io",status="200"} 2`,
		`entrepot_upstream_requests_total{kind="blob",registry="docker.io",status="307"} 2`,
		`entrepot_upstream_bytes_total{registry="docker.io"}`,
		"entrepot_cache_bytes ", "entrepot_cache_objects 3", "entrepot_cache_limit_bytes 1.073741824e+09",
		"entrepot_evictions_total 0", "entrepot_fills_in_flight 0", "entrepot_digest_mismatch_total 0", "entrepot_uncached_nospace_total 0",
		`entrepot_ratelimit_remaining{registry="docker.io"} 99`, `entrepot_breaker_open{registry="docker.io"} 0`,
		"entrepot_ca_expiry_timestamp_seconds ",
	} {
		if !strings.Contains(string(body), "\n"+want) {
			t.Errorf("no %s in\n%s", want, grep(string(body), "entrepot_"))
		}
	}
}

func grep(text, start string) string {
	var out []string
	for _, l := range strings.Split(text, "\n") {
		if strings.HasPrefix(l, start) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}
