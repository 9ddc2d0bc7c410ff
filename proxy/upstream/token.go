package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// tokens are the ones we hold, by registry, scope and whose they are: nobody's or a secret's of ours. Nothing of them reaches the disk.
type tokens struct {
	flight *singleflight.Group
	mu     sync.Mutex
	held   map[tokenKey]token
}

type tokenKey struct{ registry, scope, who string }

func keyOf(q Request) tokenKey {
	k := tokenKey{registry: q.Registry.Name, scope: q.Scope}
	if !q.secret.IsZero() {
		k.who = q.secret.Key()
	}
	return k
}

// token is what Authorization says, and until when. From renew on, whoever uses it lets it be replaced behind his back, by what the
// registry said of it in ch; a zero renew is of what is not from a realm.
type token struct {
	text         string
	renew, until time.Time
	ch           Challenge
}

// The life of a token where the realm does not say (distribution's token specification), how much earlier than its end it is taken
// for dead, how long it is left alone when it could not be renewed, and how many are held: more than that is not many repositories
// but somebody trying names.
const (
	defaultLife = time.Minute
	lifeSkew    = 10 * time.Second
	renewPause  = 10 * time.Second
	maxTokens   = 10_000
	maxJSON     = 1 << 20
)

// get is the token held for q, "" for none. In the second half of its life it comes with the challenge by which to replace it, so that
// nobody who uses it comes to its end.
func (t *tokens) get(q Request, now time.Time) (text string, renew *Challenge) {
	t.mu.Lock()
	defer t.mu.Unlock()
	held, ok := t.held[keyOf(q)]
	if !ok || !now.Before(held.until) {
		return "", nil
	}
	if !held.renew.IsZero() && !now.Before(held.renew) {
		renew = &held.ch
	}
	return held.text, renew
}

// postpone lets a token that could not be renewed be used on for a while without another try.
func (t *tokens) postpone(k tokenKey, text string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if held, ok := t.held[k]; ok && held.text == text && !held.renew.IsZero() {
		held.renew = now.Add(renewPause)
		t.held[k] = held
	}
}

func (t *tokens) drop(q Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.held, keyOf(q))
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

// token answers a registry's challenge with a token: "" when there is no challenge that asks for one. refused is the token that the
// challenge came in spite of.
func (c *Client) token(ctx context.Context, q Request, challenges []Challenge, refused string) (string, error) {
	for _, ch := range challenges {
		if ch.Scheme != "bearer" || ch.Params["realm"] == "" {
			continue
		}
		select {
		case r := <-c.fetchOnce(ctx, q, ch, refused):
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

// fetchOnce gets a token in place of old, by one request for all who want the same, which goes on when they leave. A secret that is
// refused is got anew when it is used next.
func (c *Client) fetchOnce(ctx context.Context, q Request, ch Challenge, old string) <-chan singleflight.Result {
	key := keyOf(q)
	return c.tokens.flight.DoChan(strings.Join([]string{key.registry, key.scope, key.who, old}, "\n"), func() (any, error) {
		if t, _ := c.tokens.get(q, c.now()); t != "" && t != old {
			return t, nil
		}
		text, err := c.fetchToken(context.WithoutCancel(ctx), q, ch)
		if err != nil {
			c.tokens.postpone(key, old, c.now())
		}
		if IsOwnRefused(err) {
			c.secrets.Refused(q.secret)
		}
		return text, err
	})
}

func (c *Client) fetchToken(ctx context.Context, q Request, ch Challenge) (text string, err error) {
	realm, err := c.realm(q, ch.Params["realm"])
	if err != nil {
		return "", &Error{Registry: q.Registry.Name, Host: q.Base.Host, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, headerTimeout)
	defer cancel()
	err = c.logIn(ctx, q, func() (int, error) {
		var status int
		text, status, err = c.askRealm(ctx, q, ch, realm)
		if status == http.StatusForbidden && c.unknownSecret(q) {
			status = c.logInOnly(ctx, q, ch, realm)
		}
		return status, err
	})
	return text, err
}

// askRealm gets a token. The status is that of the answer, 0 where there was none.
func (c *Client) askRealm(ctx context.Context, q Request, ch Challenge, realm *url.URL) (text string, status int, err error) {
	tq := q.toRealm(ch, realm)
	resp, err := c.send(ctx, tq, tq.Base, tq.Header)
	if err != nil {
		return "", 0, err
	}
	defer drain(resp)
	if status := resp.StatusCode; status == http.StatusTooManyRequests || status >= 500 ||
		status == http.StatusProxyAuthRequired { // a proxy's on the way, and no word about this caller
		err := fmt.Errorf("no token: status %d %s", status, http.StatusText(status))
		return "", status, &Error{Registry: q.Registry.Name, Host: realm.Host, Err: err}
	}
	if resp.StatusCode != http.StatusOK {
		return "", resp.StatusCode, &Refused{
			Registry: q.Registry.Name, Status: resp.StatusCode, Header: resp.Header, Challenge: challengesOf(ch), Own: !q.secret.IsZero(),
		}
	}
	t, err := readToken(resp.Body, c.now())
	if err != nil {
		return "", resp.StatusCode, &Error{Registry: q.Registry.Name, Host: realm.Host, Err: err}
	}
	t.ch = ch
	c.tokens.put(keyOf(q), t, c.now())
	return t.text, resp.StatusCode, nil
}

// toRealm is the request for a token: a GET, with our password if there is one, as distribution's token specification has it. An
// identity token is for a POST, as in OAuth 2.
func (q Request) toRealm(ch Challenge, realm *url.URL) Request {
	ask := realm.Query()
	if service := ch.Params["service"]; service != "" {
		ask.Set("service", service)
	}
	if s := scope(q, ch); s != "" {
		ask.Set("scope", s)
	}
	at := *realm
	tq := Request{Registry: q.Registry, Base: &at, Method: http.MethodGet, Header: http.Header{}, Kind: "token", Patience: q.Patience}
	if identity := q.secret.Identity(); identity != "" {
		ask.Set("grant_type", "refresh_token")
		ask.Set("client_id", "entrepot")
		ask.Set("refresh_token", identity)
		tq.Method, tq.form, at.RawQuery = http.MethodPost, ask.Encode(), ""
		return tq
	}
	if basic := q.secret.Basic(); basic != "" {
		tq.Header.Set("Authorization", basic)
	}
	at.RawQuery = ask.Encode()
	return tq
}

// secretWanted is what answers the registry itself, without a realm: a registry token, or the password where no token is wanted. ""
// means that we have no such thing, or that none is asked for.
func secretWanted(q Request, challenges []Challenge) (authorization string) {
	for _, ch := range challenges {
		switch {
		case ch.Scheme == "bearer" && q.secret.Bearer() != "":
			return q.secret.Bearer()
		case ch.Scheme == "bearer" && ch.Params["realm"] != "":
			return ""
		case ch.Scheme == "basic":
			authorization = q.secret.Basic()
		}
	}
	return authorization
}

// secretLife is how long a registry is taken to want our secret itself with each request, once it has taken it.
const secretLife = 10 * time.Minute

// bySecret asks with our secret itself, which the registry wanted; said tells whether it was sent and refused already.
func (c *Client) bySecret(ctx context.Context, q Request, authorization string, said bool) (resp *http.Response, err error) {
	no := &Refused{Registry: q.Registry.Name, Status: http.StatusUnauthorized, Own: true}
	if said {
		c.tokens.drop(q)
		c.conclude(c.logins.get(q), q, http.StatusUnauthorized)
		return nil, no
	}
	err = c.logIn(ctx, q, func() (int, error) {
		resp, err = c.follow(ctx, q, withAuthorization(q.Header, authorization))
		switch {
		case err != nil:
			return 0, err
		case resp.StatusCode != http.StatusUnauthorized || !fromRegistry(q, resp):
			c.tokens.put(keyOf(q), token{text: authorization, until: c.now().Add(secretLife)}, c.now())
			return http.StatusOK, nil // also a 403: the registry knows who we are
		}
		resp.Body.Close()
		return resp.StatusCode, no
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// scope is the one the registry asks for, when it asks for one: public.ecr.aws wants "aws", Google's wants nothing of /v2/.
func scope(q Request, ch Challenge) string {
	if s := ch.Params["scope"]; s != "" {
		return s
	}
	return q.Scope
}

// realm judges where a token is to be got. A registry may send us to itself and to the hosts known to give out its tokens; any
// other place could be one that a hostile registry wants us to call (CVE-2026-33540). Itself is where we ask it, by whatever name it says:
// its own may be led to us.
func (c *Client) realm(q Request, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		return nil, errors.New("the token realm is not a URL with a host")
	case u.User != nil:
		return nil, fmt.Errorf("the token realm has a name or a password before its host %s: refused", u.Host)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || q.Base.Scheme == "https") {
		return nil, fmt.Errorf("the token realm %s is not https: refused", u.Host)
	}
	if q.Registry.Has(u.Host) {
		at := q.Registry.UpstreamURL(u.Host)
		u.Scheme, u.Host = at.Scheme, at.Host
		return u, nil
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
	life = max(life-lifeSkew, life/2)
	return token{text: "Bearer " + text, renew: now.Add(life / 2), until: now.Add(life)}, nil
}

// Refused is a realm's no: nobody in particular may not have what was asked for, somebody with a credential perhaps may. With Own it is
// a no to the credential of ours, from the realm or the registry.
type Refused struct {
	Registry  string
	Status    int
	Header    http.Header
	Challenge string // the registry's, for the client to answer with what it has
	Own       bool
	Rest      time.Time // our credential is not tried again before; zero: it may be
}

func (e *Refused) Error() string {
	switch {
	case !e.Own:
		return fmt.Sprintf("%s gives no anonymous token (status %d)", e.Registry, e.Status)
	case !e.Rest.IsZero():
		return fmt.Sprintf("%s refuses the credential of this proxy: it is not tried again before %s, or until it is changed", e.Registry, e.Rest.Format(time.TimeOnly))
	}
	return fmt.Sprintf("%s refuses the credential of this proxy (status %d)", e.Registry, e.Status)
}

// IsOwnRefused tells whether err is the refusal of a credential of ours.
func IsOwnRefused(err error) bool {
	var r *Refused
	return errors.As(err, &r) && r.Own
}

// IsUnknown tells whether err says that a credential of ours cannot be got. That there is none to get is [credentials.ErrNone].
func IsUnknown(err error) bool {
	var no *noSecret
	return errors.As(err, &no)
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
