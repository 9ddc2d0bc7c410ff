package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/semaphore"

	"github.com/entrepot/entrepot/proxy/credentials"
)

// logins remember how secrets of ours fared at registries, so that one that was refused is not tried until the account is locked. The
// state is a secret's: another secret begins anew, and whoever changes a password need not tell us.
type logins struct {
	of   *lru.Cache[string, *login] // by registry and the secret's key
	told *lru.Cache[string, time.Time]
}

type login struct {
	gate *semaphore.Weighted // who is trying

	mu     sync.Mutex
	good   bool // the last answer was a yes
	pause  time.Duration
	until  time.Time            // not tried before
	scopes map[string]time.Time // nor for these, which it was refused for though good
}

// The pauses after a refusal grow so fast that half an hour sees no more than four tries: rules that lock an account count to five. A no
// to one repository only, which is a 403 from some realms, ends soon, since rights may be given meanwhile.
const (
	firstPause   = time.Minute
	pauseGrowth  = 4
	longestPause = time.Hour
	scopePause   = time.Minute
	maxLogins    = 1024
	maxScopes    = 1000
	tellEvery    = time.Minute // of a secret that cannot be got
	atOnce       = 4           // tries of a secret that was good last time; of any other, one
)

func newLogins() logins {
	of, _ := lru.New[string, *login](maxLogins) // errs on a size below one only
	told, _ := lru.New[string, time.Time](maxLogins)
	return logins{of, told}
}

func (l logins) get(q Request) *login {
	key := q.Registry.Name + "\n" + q.secret.Key()
	fresh := &login{gate: semaphore.NewWeighted(atOnce), scopes: map[string]time.Time{}}
	if in, ok, _ := l.of.PeekOrAdd(key, fresh); ok {
		l.of.Get(key) // it is in use
		return in
	}
	return fresh
}

// ForgetRefusals lets every credential of ours be tried and got anew: the operator has changed something, here or at the registry.
func (c *Client) ForgetRefusals() {
	c.logins.of.Purge()
	c.secrets.Forget()
}

// logIn tries q's secret by try, which returns the status that it led to, if nothing forbids. Of a secret that is not known to be good
// there is one try at a time, so that a crowd of callers does not spend in a second what an account allows in an hour.
func (c *Client) logIn(ctx context.Context, q Request, try func() (status int, err error)) error {
	if q.secret.IsZero() {
		_, err := try()
		return err
	}
	in := c.logins.get(q)
	weight := in.weight()
	if err := in.gate.Acquire(ctx, weight); err != nil {
		return &Error{Registry: q.Registry.Name, Err: context.Cause(ctx)}
	}
	defer in.gate.Release(weight)
	if err := in.admit(q, c.now()); err != nil {
		return err
	}
	status, err := try()
	c.conclude(in, q, status)
	return err
}

func (in *login) weight() int64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.good {
		return 1
	}
	return atOnce
}

// unknownSecret tells whether q's secret is one of ours of which it is not known yet whether it is good.
func (c *Client) unknownSecret(q Request) bool {
	if q.secret.IsZero() {
		return false
	}
	in := c.logins.get(q)
	in.mu.Lock()
	defer in.mu.Unlock()
	return !in.good
}

// logInOnly asks the realm for a token that opens nothing, as docker login does, to learn what a 403 was about: whoever asks for what
// the account may not read must not make a good secret rest. It returns the status that is to be judged.
func (c *Client) logInOnly(ctx context.Context, q Request, ch Challenge, realm *url.URL) int {
	bare := q
	bare.Scope = ""
	_, status, _ := c.askRealm(ctx, bare, Challenge{Scheme: ch.Scheme, Params: map[string]string{"service": ch.Params["service"]}}, realm)
	if status == http.StatusOK {
		c.conclude(c.logins.get(q), q, status)
		return http.StatusForbidden // to the repository
	}
	return status
}

// admit tells whether the secret may be tried now.
func (in *login) admit(q Request, now time.Time) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	until := in.until
	if t := in.scopes[q.Scope]; t.After(until) {
		until = t
	}
	if now.Before(until) {
		return &Refused{Registry: q.Registry.Name, Status: http.StatusUnauthorized, Own: true, Rest: until}
	}
	return nil
}

// conclude takes in the answer to a try; status 0 is none. A 403 is about the repository once the secret has been good; one that was not
// is good for nothing.
func (c *Client) conclude(in *login, q Request, status int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := c.now()
	switch {
	case status == http.StatusOK:
		in.good, in.pause, in.until = true, 0, time.Time{}
	case now.Before(in.until): // one of many that were under way when the first was refused
	case status == http.StatusForbidden && in.good:
		if len(in.scopes) >= maxScopes {
			clear(in.scopes)
		}
		in.scopes[q.Scope] = now.Add(scopePause)
	case status == http.StatusUnauthorized, status == http.StatusForbidden,
		status == http.StatusBadRequest && q.secret.Identity() != "": // OAuth 2's invalid_grant
		in.good = false
		in.pause = min(max(firstPause, in.pause*pauseGrowth), longestPause)
		in.until = now.Add(in.pause)
		c.warn(q.Registry.Name, &Refused{Registry: q.Registry.Name, Status: status, Own: true, Rest: in.until})
	}
}

// warn tells the operator that a credential of ours is of no use, of which a caller who gets what everybody gets would not tell him.
func (c *Client) warn(registry string, err error) {
	if c.cfg.Warn != nil {
		c.cfg.Warn(registry, err)
	}
}

// asOurselves asks with q's credential. A secret that the registry does not take is got once more: a helper may have a newer one.
func (c *Client) asOurselves(ctx context.Context, q Request) (*http.Response, error) {
	var err error
	if q.secret, err = c.secret(ctx, q); err != nil {
		return nil, err
	}
	resp, err := c.negotiate(ctx, q)
	if !doubtful(q, resp, err) {
		return resp, err
	}
	c.secrets.Refused(q.secret)
	fresh, noneErr := c.secret(ctx, q)
	if noneErr != nil || fresh == q.secret {
		return resp, err
	}
	if resp != nil {
		resp.Body.Close()
	}
	q.secret = fresh
	return c.negotiate(ctx, q)
}

// secret gets q's. Why it cannot be got is for the operator: it names files of his. That there is none is no fault.
func (c *Client) secret(ctx context.Context, q Request) (credentials.Secret, error) {
	secret, err := c.secrets.Get(ctx, q.Registry, q.Credential, q.Repo)
	if err == nil {
		return secret, nil
	}
	if last, _ := c.logins.told.Get(q.Registry.Name); !errors.Is(err, credentials.ErrNone) && ctx.Err() == nil && c.now().Sub(last) >= tellEvery {
		c.logins.told.Add(q.Registry.Name, c.now())
		c.warn(q.Registry.Name, err)
	}
	return credentials.Secret{}, &Error{Registry: q.Registry.Name, Err: &noSecret{err}}
}

// noSecret is a credential of ours that cannot be got.
type noSecret struct{ err error }

func (*noSecret) Error() string {
	return "the credential of this proxy cannot be got: its log says why"
}
func (e *noSecret) Unwrap() error { return e.err }

// doubtful tells whether an answer may mean that the secret has ended: a refused login, or a 403 to a password, by which Amazon's
// registries say it.
func doubtful(q Request, resp *http.Response, err error) bool {
	if err != nil {
		return IsOwnRefused(err)
	}
	return resp.StatusCode == http.StatusForbidden && fromRegistry(q, resp) && isBasic(resp.Request.Header.Get("Authorization"))
}

// fromRegistry tells whether the registry itself gave the answer, not a host that it redirected to.
func fromRegistry(q Request, resp *http.Response) bool {
	return resp.Request != nil && sameOrigin(resp.Request.URL, q.Base)
}

func isBasic(authorization string) bool { return strings.HasPrefix(authorization, "Basic ") }
