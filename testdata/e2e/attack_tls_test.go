//go:build e2e

package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// handshakes: what is spoken with clients, by our own tries and by the judgement of others' scanners, and with registries.
func (s *siege) handshakes() {
	for what, cfg := range map[string]*tls.Config{
		"TLS 1.0": {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, "TLS 1.1": {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"TLS 1.2 with CBC": {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256}},
		"TLS 1.2 with RSA": {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA}},
		"TLS 1.2 with RC4": {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}},
	} {
		cfg.ServerName, cfg.RootCAs = "quay.io", s.roots
		c := tls.Client(s.dial(tlsAddr), cfg)
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		err := c.Handshake()
		s.try("a client of "+what, fmt.Sprint(err), unless(err != nil, "it was let in"))
		_ = c.Close()
	}
	s.upstreamTLS()
}

// scanners begin to look at the tls door. What is returned judges what they found.
func (s *siege) scanners() func(*siege) {
	type output struct{ text, problem string }
	begin := func(cmd *exec.Cmd) <-chan output {
		done := make(chan output, 1)
		go func() { // ends with the program; the result has room in done
			text, err := try(cmd)
			done <- output{text, fmt.Sprint(err)}
		}()
		return done
	}
	findings := filepath.Join(scratch(s.t), "testssl.json")
	_, port, _ := net.SplitHostPort(tlsAddr)
	scan := begin(command(nil, "/usr/bin/sslscan", "--no-colour", "--sni-name=quay.io", tlsAddr))
	ssl := begin(command([]string{"TERM=dumb"}, "/usr/bin/testssl", "--quiet", "--color", "0", "--warnings", "off", "--openssl-timeout", "5", "--nodns", "none",
		"-p", "-S", // protocols and certificate; the suites are sslscan's part
		"--jsonfile", findings, "--ip", lanAddr, "quay.io:443"))
	h2 := func() <-chan output {
		return begin(command(nil, program("h2spec"), "-h", "quay.io", "-p", port, "-t", "-k", "-P", "/v2/", "-o", "1"))
	}
	first := h2()
	return func(s *siege) {
		s.sslscan((<-scan).text)
		out := <-ssl
		s.testssl(findings, out.text+out.problem)
		text := (<-first).text
		missed := h2misses(text)
		if len(missed) > 0 { // it goes by the clock: what is missed once and not the next time lost a race on a busy machine
			text = (<-h2()).text
			again := h2misses(text)
			missed = slices.DeleteFunc(missed, func(m string) bool { return !slices.Contains(again, m) })
		}
		result := h2specResult.FindString(text)
		s.try("h2spec", result, unless(result != "" && len(missed) == 0, "missed %q", missed))
	}
}

// suitePattern finds a suite in a line of sslscan: "Accepted  TLSv1.2  128 bits  ECDHE-ECDSA-AES128-GCM-SHA256 …".
var suitePattern = regexp.MustCompile(`(?m)^(?:Accepted|Preferred)\s+(\S+)\s+\d+ bits\s+(\S+)`)

// aead tells whether a suite authenticates what it encrypts, by OpenSSL's names.
func aead(suite string) bool {
	return strings.HasPrefix(suite, "TLS_") || strings.HasPrefix(suite, "ECDHE-") && (strings.Contains(suite, "-GCM-") || strings.Contains(suite, "CHACHA20-POLY1305"))
}

func (s *siege) sslscan(out string) {
	var good, bad []string
	for _, m := range suitePattern.FindAllStringSubmatch(out, -1) {
		if (m[1] == "TLSv1.2" || m[1] == "TLSv1.3") && aead(m[2]) {
			good = append(good, m[2])
		} else {
			bad = append(bad, m[1]+" "+m[2])
		}
	}
	for _, protocol := range []string{"SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"} {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(protocol) + `\s+disabled`).MatchString(out) {
			bad = append(bad, protocol+" is not known to be off")
		}
	}
	if !strings.Contains(out, "not vulnerable to heartbleed") || strings.Contains(out, "Compression enabled") || strings.Contains(out, "Insecure") {
		bad = append(bad, "heartbleed, compression or renegotiation")
	}
	s.try("sslscan", fmt.Sprintf("%d suites, all AEAD, TLS 1.2 and 1.3 only", len(good)), unless(len(bad) == 0 && len(good) >= 5, "%v, good %v\n%s", bad, good, out))
}

// excused are testssl's findings that are as they must be. A CA of one's own is in no store and has no revocation; instead its leaves
// live for a month. crypto/tls changes the key of its session tickets each day, whatever it tells of their life.
func excused(id string) bool {
	for _, prefix := range []string{"cert_chain_of_trust", "cert_trust", "cert_crlDistributionPoints", "cert_ocspURL", "cert_revocation", "cert_caIssuers", "certificate_transparency", "DNS_CAA", "OCSP_stapling", "cert_expirationStatus", "cert_notAfter", "TLS_session_ticket"} {
		if strings.HasPrefix(id, prefix) {
			return true
		}
	}
	return false
}

func (s *siege) testssl(file, out string) {
	text, err := os.ReadFile(file)
	var findings []struct{ ID, Severity, Finding string }
	if err == nil {
		err = json.Unmarshal(text, &findings)
	}
	if err != nil {
		s.t.Fatalf("testssl: %v\n%s", err, out)
	}
	var bad []string
	offered := map[string]string{}
	for _, f := range findings {
		offered[f.ID] = f.Finding
		switch f.Severity {
		case "LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL":
			if !excused(f.ID) {
				bad = append(bad, f.ID+": "+f.Finding)
			}
		}
	}
	for _, id := range []string{"SSLv2", "SSLv3", "TLS1", "TLS1_1"} {
		if !strings.Contains(offered[id], "not offered") {
			bad = append(bad, id+": "+offered[id])
		}
	}
	for _, id := range []string{"TLS1_2", "TLS1_3"} {
		if !strings.HasPrefix(offered[id], "offered") {
			bad = append(bad, id+": "+offered[id])
		}
	}
	s.try("testssl.sh", fmt.Sprintf("%d findings, none of them against us", len(findings)), unless(len(bad) == 0, "%v", bad))
}

var (
	h2specResult = regexp.MustCompile(`145 tests, (\d+) passed, \d+ skipped, \d+ failed`)
	h2specMiss   = regexp.MustCompile(`× \d+: (.*)`)
)

// h2misses are the cases that h2spec lists as failed.
func h2misses(out string) []string {
	_, failures, _ := strings.Cut(out, "Failures:")
	var missed []string
	for _, m := range h2specMiss.FindAllStringSubmatch(failures, -1) {
		missed = append(missed, m[1])
	}
	return missed
}
