package credentials

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/entrepot/entrepot/hosts"
)

// dockerFile is what counts of a file that `docker login` or `podman login` wrote.
type dockerFile struct {
	Auths       map[string]dockerAuth `json:"auths"`
	CredHelpers map[string]string     `json:"credHelpers"`
	CredsStore  string                `json:"credsStore"`
}

type dockerAuth struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// entry is what such a file has for a repository: a secret, or whom to ask for it.
type entry struct {
	secret Secret
	ask    question
}

func readDocker(path string) (dockerFile, error) {
	text, err := readFile(path, maxConfig)
	if err != nil {
		return dockerFile{}, err
	}
	var f dockerFile
	if json.Unmarshal(text, &f) != nil { // whose own error may quote what it stumbled on
		return dockerFile{}, fmt.Errorf("%s is not JSON as docker login writes it", path)
	}
	return f, nil
}

// dockerEntry finds what the file has for a repository: the longest prefix, as Podman writes them, before the registry as a whole; for
// the same prefix a helper before what stands in the file, and what stands in the file before the store for all.
func dockerEntry(path string, r hosts.Registry, repo string) (entry, error) {
	f, err := readDocker(path)
	if err != nil {
		return entry{}, err
	}
	auths, helpers := byName(f.Auths), byName(f.CredHelpers)
	for prefix, more := repo, true; more; prefix, more = parent(prefix) {
		for _, host := range namesOf(r) {
			name := strings.TrimSuffix(host+"/"+prefix, "/")
			if key, ok := helpers[name]; ok && f.CredHelpers[key] != "" {
				return f.asking(f.CredHelpers[key], key)
			}
			if key, ok := auths[name]; ok {
				if secret, ok := f.Auths[key].secret(); ok {
					return entry{secret: secret}, nil
				}
			}
		}
	}
	if f.CredsStore != "" {
		return f.asking(f.CredsStore, serverOf(r))
	}
	return entry{}, ErrNone
}

func (f dockerFile) asking(helper, server string) (entry, error) {
	if !hosts.ValidHelper(helper) {
		return entry{}, fmt.Errorf("the Docker file names the helper %.40q, which is not the end of a program's name", helper)
	}
	return entry{ask: question{helper, server}}, nil
}

// parent is the prefix above: "org" of "org/team", "" of "org", and nothing of "".
func parent(prefix string) (string, bool) {
	return prefix[:max(0, strings.LastIndexByte(prefix, '/'))], prefix != ""
}

// byName are the keys of a map of the file by what they name: a host, or a host and a prefix. Where two name the same, the plain one
// counts.
func byName[V any](m map[string]V) map[string]string {
	out := map[string]string{}
	for key := range m {
		name := nameOf(key)
		if old, twice := out[name]; !twice || key == name || old != name && key < old {
			out[name] = key
		}
	}
	return out
}

// nameOf is a key without the scheme and the API version that Docker once wrote with it: "https://index.docker.io/v1/" is Docker Hub.
func nameOf(key string) string {
	_, rest, isURL := strings.Cut(key, "://")
	if !isURL {
		rest = key
	}
	host, path, _ := strings.Cut(rest, "/")
	if v := strings.TrimSuffix(path, "/"); (v == "v1" || v == "v2") && (isURL || v != path) {
		path = ""
	}
	return strings.TrimSuffix(strings.ToLower(host)+"/"+path, "/")
}

// namesOf are the hosts by which a file may know the registry.
func namesOf(r hosts.Registry) []string {
	names := []string{r.Name}
	for _, h := range r.Hosts {
		if !strings.Contains(h, "*") && h != r.Name {
			names = append(names, h)
		}
	}
	if u, err := url.Parse(r.Upstream); err == nil && u.Host != "" {
		names = append(names, u.Host)
	}
	return names
}

// secret is what stands in the file itself; with a store for all, Docker leaves an entry empty. A registry token goes before all else,
// as Docker does it.
func (a dockerAuth) secret() (Secret, bool) {
	if a.RegistryToken != "" {
		return Secret{bearer: a.RegistryToken}, true
	}
	if a.IdentityToken != "" {
		return Secret{identity: a.IdentityToken}, true
	}
	text, err := base64.StdEncoding.DecodeString(a.Auth)
	user, password, found := strings.Cut(string(text), ":")
	if err != nil || !found {
		user, password = a.Username, a.Password
	}
	password = strings.Trim(password, "\x00") // as Docker does
	return Secret{username: user, password: password}, user != "" && password != ""
}
