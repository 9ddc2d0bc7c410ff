package proxy

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// rules are what is expected of a proxy that intercepts, beside what the advisories teach, and the tests that hold each. A rule whose
// test is renamed or dropped fails TestRules, so that it is not lost by accident.
var rules = map[string][]string{
	"upstream is always verified, own CA is no root there":    {"TestLoops", "TestAdvisoriesOnCredentials", "TestMadeByAThief"},
	"TLS 1.2 and AEAD at least":                               {"TestTLSFloor"},
	"the CA's key is its owner's alone, never overwritten":    {"TestWrongMode", "TestConcurrentOpenEndsWithOneCA", "TestCertificateIsServed"},
	"leaves are for one name and live for a short time":       {"TestLeaf", "TestNamesRefused", "TestLeavesAreBounded", "TestRenewal"},
	"only listed names are intercepted":                       {"TestNamesTheTLSDoorRefuses", "TestTunnelIsUntouched"},
	"every address is judged when it is dialled":              {"TestDialable", "TestRebinding", "TestMetadataIsAllowedByItself", "TestTunnelsAreGuarded"},
	"ports are listed":                                        {"TestTunnelPorts"},
	"never to ourselves":                                      {"TestNeverToOurselves", "TestWildcardDoors", "TestOwnDoors", "TestLoops"},
	"realms are trusted in pairs":                             {"TestRealmsAreTrustedInPairs", "TestIsRealm"},
	"redirects drop credentials and never go down to http":    {"TestCredentialsStayHome", "TestRedirectsRefused", "TestTenRedirects"},
	"one host for connection and request":                     {"TestMisdirected", "TestConnectByAnotherSpelling"},
	"a refused CONNECT ends the connection":                   {"TestConnectToNonsense", "TestConnectThatFails"},
	"no request is smuggled":                                  {"TestFraming", "FuzzFraming", "TestSmuggling", "TestKeepAlive"},
	"fields are named, both ways":                             {"TestFieldsBothWays", "TestWhatUpstreamSees", "TestAbsoluteForm"},
	"limits on headers, readers, clients and listings":        {"TestOversizedHeader", "TestSilentClients", "TestReaders", "TestClientLimit", "TestListingsEnd", "TestRealmAnswers"},
	"only what is its digest is kept, encodings are refused":  {"TestFaults", "TestManifestFaults", "TestWrongContent", "TestTheTailIsWithheld"},
	"private stays private":                                   {"TestPrivateStaysPrivate", "TestNoWayThroughAnotherRepository", "TestStrangersDoNotJoin", "TestRevoked", "TestMadePrivate", "TestAdvisoriesOnAccess"},
	"no secret in the log":                                    {"TestNoSecretInTheLog", "TestPasswordsInAddressesAreNotRepeated"},
	"names are judged before they are used, once decoded":     {"TestMirrorRefusals", "TestPathIsNoHost", "TestLookupGarbage"},
	"nothing of the admin's is at the other doors":            {"TestAdvisoriesOnContent"},
	"what fails for one closes the way for nobody else":       {"TestOneWayIsNotAnother", "TestRetryAfterOfOtherThings", "TestRetryAfterOfOneAccount", "TestGateIsFair", "TestClientLimit"},
	"who may come in is known, whatever the address's family": {"TestAllowClients", "TestCrowd"},
}

var testName = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)

func TestRules(t *testing.T) {
	known := map[string]bool{}
	for _, pattern := range []string{"*_test.go", "upstream/*_test.go", "../ca/*_test.go", "../hosts/*_test.go", "../cache/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: got %v, %v", pattern, files, err)
		}
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range testName.FindAllSubmatch(text, -1) {
				known[string(m[1])] = true
			}
		}
	}
	for rule, tests := range rules {
		for _, name := range tests {
			if !known[name] {
				t.Errorf("%s: there is no test %s", rule, name)
			}
		}
	}
}
