package main

import (
	"os"
	"path/filepath"
	"strings"
)

// registryConfig is distribution's registry as a pull-through cache.
const registryConfig = `version: 0.1
log: {level: info, accesslog: {disabled: false}}
storage:
  filesystem: {rootdirectory: DIR}
http:
  addr: ADDR
TLS
proxy:
  remoteurl: https://ORIGIN
`

// startRegistry starts it twice, since one process has one door only: one for plain HTTP, one for TLS.
func startRegistry(b *bed, s *server) error {
	a := freeAddrs(2)
	tls := "  tls: {certificate: " + b.trust.certFile + ", key: " + b.trust.keyFile + "}"
	for i, secured := range []string{"", tls} {
		dir := filepath.Join(s.dir, []string{"plain", "tls"}[i])
		text := strings.NewReplacer("DIR", dir, "ADDR", a[i], "TLS", secured, "ORIGIN", b.origin.addr).Replace(registryConfig)
		config := dir + ".yml"
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			return err
		}
		env := []string{"SSL_CERT_FILE=" + b.trust.rootFile, "OTEL_TRACES_EXPORTER=none"}
		if err := s.spawn(filepath.Join(b.tools, "registry"), env, "serve", config); err != nil {
			return err
		}
	}
	secure := "https://" + hostName + "/v2/"
	s.ways = map[string]way{
		wayPlain: {addr: a[0], base: "http://" + a[0] + "/v2/"},
		wayH1:    {addr: a[1], base: secure, roots: b.trust.pool},
		wayH2:    {addr: a[1], base: secure, roots: b.trust.pool},
	}
	return s.until()
}
