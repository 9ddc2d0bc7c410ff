//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// tally counts how things ended.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]int{}
	}
	c.counts[what]++
}

func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text, _ := json.Marshal(c.counts)
	return string(text)
}

// soaker is a client. Each has connections of its own.
type soaker struct {
	s      *soak
	choose *rand.Rand
	http   *http.Client
	mirror bool
	tokens map[string]string // by repository
}

// newClient is the i-th client: by the mirror, by the proxy with HTTP/1.1, or
// by the proxy with HTTP/2.
func (s *soak) newClient(ca string, i int) *soaker {
	pem, err := os.ReadFile(ca)
	if err != nil {
		s.t.Error(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP2(i%3 == 2) // and nothing else: a client that has the choice is given HTTP/1.1
	tr.Protocols.SetHTTP1(i%3 != 2)
	c := &soaker{s: s, choose: s.random(uint64(1000 + i)), http: &http.Client{Transport: tr}, mirror: i%3 == 0, tokens: map[string]string{}}
	if !c.mirror {
		tr.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: proxyAddr})
	}
	return c
}

// run pulls until the time is up.
func (c *soaker) run(ctx context.Context) {
	defer c.http.CloseIdleConnections()
	for ctx.Err() == nil {
		img := c.s.images[c.choose.IntN(len(c.s.images))]
		err := c.pull(ctx, img)
		var lie *lieError
		switch {
		case ctx.Err() != nil:
		case errors.As(err, &lie):
			c.s.tally.add("lies")
			c.s.t.Errorf("%s/%s: %v", img.registry, img.repo, err)
		case err != nil:
			c.s.tally.add("failed pulls: " + reason(err))
			pause(ctx, time.Duration(c.choose.IntN(300))*time.Millisecond) // it may be down
		default:
			c.s.tally.add("whole pulls")
		}
	}
}

// reason is what a pull failed of: mostly that nobody listens for a moment.
func reason(err error) string {
	if errors.As(err, new(*net.OpError)) {
		return "connection"
	}
	return "answer"
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// lieError is an answer that ended politely and was wrong.
type lieError struct{ what string }

func (e *lieError) Error() string { return e.what }

func lie(format string, args ...any) error { return &lieError{fmt.Sprintf(format, args...)} }

// pull takes the manifest and each blob in one of the ways that clients have.
func (c *soaker) pull(ctx context.Context, img soakImage) error {
	resp, body, err := c.get(ctx, img, "manifests/1", "", -1)
	if err != nil {
		return err
	}
	if got := sum(body); got != img.digest {
		return lie("manifest: got %s with %s, want %s", got, resp.Header.Get("Docker-Content-Digest"), img.digest)
	}
	for _, b := range img.blobs {
		size := int64(len(b.content))
		switch c.choose.IntN(4) {
		case 0:
			first := c.choose.Int64N(size)
			err = c.part(ctx, img, b, first, first+c.choose.Int64N(size-first))
		case 1:
			err = c.resume(ctx, img, b, c.choose.Int64N(size))
		default:
			err = c.part(ctx, img, b, 0, size-1)
		}
		if err != nil {
			return fmt.Errorf("blob %s: %w", b.digest, err)
		}
	}
	return nil
}

// part reads the bytes from first to last and compares them. A part of what is
// held must be right. One of what upstream is still sending goes out as it
// comes, since its digest can be judged only when the whole is there.
func (c *soaker) part(ctx context.Context, img soakImage, b soakBlob, first, last int64) error {
	byteRange := fmt.Sprintf("bytes=%d-%d", first, last)
	whole := first == 0 && last == int64(len(b.content))-1
	if whole {
		byteRange = ""
	}
	resp, body, err := c.get(ctx, img, "blobs/"+b.digest, byteRange, -1)
	if err != nil {
		return err
	}
	want := b.content
	if resp.StatusCode == http.StatusPartialContent {
		want = b.content[first : last+1]
	}
	if bytes.Equal(body, want) {
		return nil
	}
	from := resp.Header.Get("Cache-Status")
	if resp.StatusCode == http.StatusPartialContent && len(body) == len(want) && !strings.HasPrefix(from, "entrepot; hit") {
		c.s.tally.add("bad parts, not judged yet")
		return errors.New("a part of what upstream was still sending is not right")
	}
	return lie("%q: got %s (%s), %d bytes that are %s, want %d bytes that are %s", byteRange, resp.Status, from, len(body), sum(body), len(want), sum(want))
}

// resume hangs up after some bytes, and asks for the rest by a Range. What a
// cut answer had need not be right: its end was withheld.
func (c *soaker) resume(ctx context.Context, img soakImage, b soakBlob, at int64) error {
	_, head, err := c.get(ctx, img, "blobs/"+b.digest, "", at)
	if err != nil {
		return err
	}
	c.s.tally.add("aborted")
	if !bytes.Equal(head, b.content[:at]) {
		c.s.tally.add("aborted in bad bytes")
	}
	return c.part(ctx, img, b, at, int64(len(b.content))-1)
}

// get reads an answer to its end, or only its first bytes if most is not
// negative, and hangs up. Anything but 200 and 206 is an error.
func (c *soaker) get(ctx context.Context, img soakImage, path, byteRange string, most int64) (*http.Response, []byte, error) {
	at := "https://" + img.host + "/v2/" + img.repo + "/" + path
	if c.mirror {
		at = "http://" + mirrorAddr + "/v2/" + img.registry + "/" + img.repo + "/" + path
	}
	resp, err := c.ask(ctx, at, byteRange, c.tokens[img.repo])
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		_ = resp.Body.Close()
		if c.tokens[img.repo], err = c.token(ctx, resp.Header.Get("Www-Authenticate")); err == nil {
			resp, err = c.ask(ctx, at, byteRange, c.tokens[img.repo])
		}
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	c.s.tally.add(resp.Proto)
	c.s.tally.add(resp.Status)
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		return resp, nil, fmt.Errorf("%s: %s", at, resp.Status)
	}
	if most >= 0 {
		body := make([]byte, most)
		_, err := io.ReadFull(resp.Body, body)
		return resp, body, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.s.tally.add("cut")
	}
	return resp, body, err
}

func (c *soaker) ask(ctx context.Context, at, byteRange, token string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", ociFormat().manifest+", "+ociFormat().index+", */*")
	if byteRange != "" {
		req.Header.Set("Range", byteRange)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return c.http.Do(req)
}

var parameter = regexp.MustCompile(`(realm|service|scope)="([^"]*)"`)

// token does what a challenge says, anonymously.
func (c *soaker) token(ctx context.Context, challenge string) (string, error) {
	query, realm := url.Values{}, ""
	for _, m := range parameter.FindAllStringSubmatch(challenge, -1) {
		if m[1] == "realm" {
			realm = m[2]
		} else {
			query.Set(m[1], m[2])
		}
	}
	resp, err := c.ask(ctx, realm+"?"+query.Encode(), "", "")
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	var said struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil {
		return "", fmt.Errorf("token of %s: %s: %w", strings.SplitN(realm, "?", 2)[0], resp.Status, err)
	}
	return or(said.Token, said.AccessToken), nil
}
