package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// tokens are the anonymous ones we hold, by registry and scope. Nothing of them reaches the disk.
type tokens struct {
	flight *singleflight.Group
	mu     sync.Mutex
	held   map[tokenKey]token
}

type tokenKey struct{ registry, scope string }

type token struct {
	text  string
	until time.Time
}

// The life of a token where the realm does not say (distribution's token specification), how much earlier than its end it is taken
// for dead, and how many are held: more than that is not many repositories but somebody trying names.
const (
	defaultLife = time.Minute
	lifeSkew    = 10 * time.Second
	maxTokens   = 10_000
	maxJSON     = 1 << 20
)

func (t *tokens) get(q Request, now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if held, ok := t.held[tokenKey{q.Registry.Name, q.Scope}]; ok && now.Before(held.until) {
		return held.text
	}
	return ""
}

func (t *tokens) put(k tokenKey, v token, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.held) >= maxTokens {
		for k, v := range t.held {
			if now.After(v.until) || len(t.held) >= maxTokens {
				delete(t.held, k)
			}
		}
	}
	t.held[k] = v
}

// token answers a registry's challenge with an anonymous token: "" when there is no challenge that asks for one. One request is
// shared by all who wait for the same scope. refused is the token that the challenge came in spite of.
func (c *Client) token(ctx context.Context, q Request, challenges []string, refused string) (string, error) {
	for _, ch := range ParseChallenges(challenges) {
		if ch.Scheme != "bearer" || ch.Params["realm"] == "" {
			continue
		}
		got := c.tokens.flight.DoChan(q.Registry.Name+"\n"+q.Scope+"\n"+refused, func() (any, error) {
			if t := c.tokens.get(q, c.now()); t != "" && t != refused {
				return t, nil
			}
			return c.fetchToken(context.WithoutCancel(ctx), q, ch)
		})
		select {
		case r := <-got:
			if r.Err != nil {
				return "", r.Err
			}
			return r.Val.(string), nil
		case <-ctx.Done():
			return "", &Error{Registry: q.Registry.Name, Err: context.Cause(ctx)}
		}
	}
	return "", nil
}

func (c *Client) fetchToken(ctx context.Context, q Request, ch Challenge) (string, error) {
	realm, err := c.realm(q, ch.Params["realm"])
	if err != nil {
		return "", &Error{Registry: q.Registry.Name, Host: q.Base.Host, Err: err}
	}
	ask := realm.Query()
	if service := ch.Params["service"]; service != "" {
		ask.Set("service", service)
	}
	ask.Set("scope", scope(q, ch))
	realm.RawQuery = ask.Encode()
	ctx, cancel := context.WithTimeout(ctx, headerTimeout)
	defer cancel()
	tq := Request{Registry: q.Registry, Base: realm, Method: http.MethodGet, Header: http.Header{}, Kind: "token", Patience: q.Patience}
	resp, err := c.send(ctx, tq, realm, tq.Header)
	if err != nil {
		return "", err
	}
	defer drain(resp)
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 {
		err := fmt.Errorf("no token: status %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
		return "", &Error{Registry: q.Registry.Name, Host: realm.Host, Err: err}
	}
	if resp.StatusCode != http.StatusOK {
		return "", &Refused{Registry: q.Registry.Name, Status: resp.StatusCode, Header: resp.Header, Challenge: challengesOf(ch)}
	}
	t, err := readToken(resp.Body, c.now())
	if err != nil {
		return "", &Error{Registry: q.Registry.Name, Host: realm.Host, Err: err}
	}
	c.tokens.put(tokenKey{q.Registry.Name, q.Scope}, t, c.now())
	return t.text, nil
}

// scope is the one the registry asks for, when it asks for one: public.ecr.aws wants "aws", Google's wants nothing of /v2/.
func scope(q Request, ch Challenge) string {
	if s := ch.Params["scope"]; s != "" {
		return s
	}
	return q.Scope
}

// realm judges where a token is to be got. A registry may send us to itself and to the hosts known to give out its tokens; any
// other place could be one that a hostile registry wants us to call (CVE-2026-33540).
func (c *Client) realm(q Request, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, errors.New("the token realm is not a URL")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || q.Base.Scheme == "https") {
		return nil, fmt.Errorf("the token realm %s is not https: refused", u.Host)
	}
	if !q.Registry.IsRealm(u.Host) && u.Host != q.Base.Host {
		return nil, fmt.Errorf("%s is not a known token realm of %s: refused; list it under realms of this registry", u.Host, q.Registry.Name)
	}
	return u, nil
}

func readToken(r io.Reader, now time.Time) (token, error) {
	var body struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.NewDecoder(io.LimitReader(r, maxJSON)).Decode(&body); err != nil {
		return token{}, fmt.Errorf("the token realm's answer is not JSON: %w", err)
	}
	text := body.Token
	if text == "" {
		text = body.AccessToken
	}
	if text == "" {
		return token{}, errors.New("the token realm's answer has no token")
	}
	life := defaultLife
	if body.ExpiresIn > 0 {
		life = time.Duration(min(body.ExpiresIn, 24*60*60)) * time.Second
	}
	return token{text, now.Add(max(life-lifeSkew, life/2))}, nil
}

// Refused is a realm's no: nobody in particular may not have what was asked for, somebody with a credential perhaps may.
type Refused struct {
	Registry  string
	Status    int
	Header    http.Header
	Challenge string // the registry's, for the client to answer with what it has
}

func (e *Refused) Error() string {
	return fmt.Sprintf("%s gives no anonymous token (status %d)", e.Registry, e.Status)
}

// IsRefused tells whether err is a [*Refused].
func IsRefused(err error) bool {
	var r *Refused
	return errors.As(err, &r)
}

// Personal: another caller may bring a credential.
func (e *Refused) Personal() bool { return true }

func challengesOf(ch Challenge) string {
	s := `Bearer realm="` + ch.Params["realm"] + `"`
	for _, name := range []string{"service", "scope"} {
		if v := ch.Params[name]; v != "" {
			s += "," + name + `="` + v + `"`
		}
	}
	return s
}
