package proxy

import (
	"strings"
	"testing"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/testdata/world"
)

// TestPrivateImageTellsWhatToDo: who pulls a private image by a mirror that has no credential, and sends none, hears what would help; to
// whom it would not, because a login was sent and refused, it is not said.
func TestPrivateImageTellsWhatToDo(t *testing.T) {
	v := newVault(t)
	for _, row := range []struct {
		door, registry string
		header         []string
		status         int
		told           bool
	}{
		{doorMirror, "docker.io", nil, 401, true},
		{doorMirror, corp, nil, 401, true},
		{doorMirror, corp, []string{"Authorization", basicAuth("ada", "wrong")}, 401, false},
		{doorMirror, corp, []string{"Authorization", basicAuth("eve", "pass")}, 403, false},
		{doorProxy, corp, nil, 401, false},
	} {
		url := v.url(way{door: row.door}, row.registry, "acme/app/manifests/v1")
		resp, body := v.get(row.door, url, append(row.header, accepting...)...)
		if told := strings.Contains(string(body), noCredentialHint); resp.StatusCode != row.status || told != row.told {
			t.Errorf("%+v: got %d %s", row, resp.StatusCode, body)
		}
	}
}

// TestRefusedTokenTellsWhatToDo: the same where a realm gives no token to nobody in particular.
func TestRefusedTokenTellsWhatToDo(t *testing.T) {
	v := newVault(t)
	v.world.Host("auth.docker.io").Fault(world.Fault{Kind: world.Status, Status: 401, Times: -1})
	resp, body := v.get(doorMirror, v.mirror("/v2/acme/app/manifests/v1"), accepting...)
	refusedWith(t, "no token", resp, string(body), 401, codeUnauthorized, "private or does not exist. "+noCredentialHint)
}

// TestLenderIsNotToldToLend: a mirror that has a credential which does not fit is not said to have none.
func TestLenderIsNotToldToLend(t *testing.T) {
	l := newLender(t)
	l.configure(hosts.Credential{Username: "eve", PasswordFile: l.file})
	l.as("")
	resp, body := l.get(doorMirror, l.mirror("/v2/"+corp+"/acme/app/manifests/v1"), accepting...)
	if resp.StatusCode != 401 || strings.Contains(string(body), noCredentialHint) {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
}
