package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
	"github.com/entrepot/entrepot/testdata/world/leaks"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }

func TestControl(t *testing.T) {
	w := world.New(t, world.Options{})
	door := control(w)
	order := func(method, path, body string, want int) *httptest.ResponseRecorder {
		t.Helper()
		rec := httptest.NewRecorder()
		door.ServeHTTP(rec, httptest.NewRequest(method, path, strings.NewReader(body)))
		if rec.Code != want {
			t.Errorf("%s %s %s: got %d, want %d: %s", method, path, body, rec.Code, want, rec.Body)
		}
		return rec
	}
	get := func(url string) int {
		t.Helper()
		resp, err := w.Client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		return resp.StatusCode
	}

	order("POST", "/fault", `{"host":"registry.k8s.io","fault":{"kind":"status","status":503,"on":"ping"}}`, 204)
	for _, want := range []int{503, 200} {
		if got := get("https://registry.k8s.io/v2/"); got != want {
			t.Errorf("ping: got %d, want %d", got, want)
		}
	}
	var counters struct {
		Hosts map[string]world.Counts
	}
	if err := json.Unmarshal(order("GET", "/counters", "", 200).Body.Bytes(), &counters); err != nil {
		t.Fatal(err)
	}
	if got := counters.Hosts["registry.k8s.io"].Pings; got != 2 {
		t.Errorf("pings: got %d, want 2", got)
	}
	if got := order("GET", "/requests", "", 200).Body.String(); strings.Count(got, "\n") != 2 {
		t.Errorf("requests: got %q", got)
	}
	order("POST", "/reset", "", 204)
	order("POST", "/heal", "", 204)
	order("POST", "/expire", "", 204)
	order("POST", "/limit", `{"left":3}`, 204)
	order("POST", "/repos", `{"private":["reg.corp.test/app"]}`, 204)
	if got := get("https://reg.corp.test/v2/app/manifests/1"); got != http.StatusUnauthorized {
		t.Errorf("private repository: got %d, want 401", got)
	}
	order("POST", "/accounts", `{"registry":"docker.io","user":"ann","password":"pw","repos":["acme/*"]}`, 204)
	for _, bad := range [][2]string{
		{"/fault", `{"host":"example.com","fault":{"kind":"cut"}}`},
		{"/fault", `{"host":"quay.io","fault":{"kind":"rust"}}`},
		{"/repos", `{"private":["example.com/app"]}`},
		{"/accounts", `{"registry":"example.com"}`},
		{"/limit", `{"lefd":3}`},
	} {
		order("POST", bad[0], bad[1], http.StatusBadRequest)
	}
}
