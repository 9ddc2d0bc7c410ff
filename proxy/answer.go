package proxy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/proxy/upstream"
)

// The error codes of the OCI distribution-spec that we use ourselves.
const (
	codeBlobUnknown     = "BLOB_UNKNOWN"
	codeDenied          = "DENIED"
	codeDigestInvalid   = "DIGEST_INVALID"
	codeManifestInvalid = "MANIFEST_INVALID"
	codeManifestUnknown = "MANIFEST_UNKNOWN"
	codeNameInvalid     = "NAME_INVALID"
	codeRangeInvalid    = "RANGE_INVALID" // not of the specification, which has none for this
	codeNameUnknown     = "NAME_UNKNOWN"
	codeSizeInvalid     = "SIZE_INVALID"
	codeTagInvalid      = "TAG_INVALID"
	codeUnauthorized    = "UNAUTHORIZED"
	codeUnsupported     = "UNSUPPORTED"
	codeUnavailable     = "UNAVAILABLE"
	codeTooMany         = "TOOMANYREQUESTS"
)

// The words of the log's cache field.
const (
	cacheHit         = "HIT"
	cacheMiss        = "MISS"
	cacheCollapsed   = "COLLAPSED"
	cacheRevalidated = "REVALIDATED"
	cacheStale       = "STALE"
	cacheBypass      = "BYPASS"
)

// cacheStatus is the Cache-Status field (RFC 9211) for each of them.
var cacheStatus = map[string]string{
	cacheHit:         "entrepot; hit",
	cacheMiss:        "entrepot; fwd=uri-miss; stored",
	cacheCollapsed:   "entrepot; fwd=uri-miss; collapsed",
	cacheRevalidated: "entrepot; fwd=stale; fwd-status=304; detail=REVALIDATED",
	cacheStale:       "entrepot; hit; detail=STALE",
	cacheBypass:      "entrepot; fwd=bypass",
}

// cacheStatusField is the same as a header has it, made once: see fields.
var cacheStatusField = func() map[string][]string {
	all := map[string][]string{}
	for word, field := range cacheStatus {
		all[word] = []string{field}
	}
	return all
}()

func (q *request) outcome(w http.ResponseWriter, word string) {
	q.cache = word
	w.Header()["Cache-Status"] = cacheStatusField[word]
}

// errorBody is the OCI error body (distribution-spec, "Error Codes"). Docker shows the message to people.
func errorBody(code, message string) []byte {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	b, _ := json.Marshal(map[string][]entry{"errors": {{code, message}}}) // strings always marshal
	return append(b, '\n')
}

// refuse answers with an error of our own.
func (q *request) refuse(w http.ResponseWriter, status int, code, message string) {
	if q.err == nil {
		q.err = errors.New(message)
	}
	if q.cache == "" {
		q.outcome(w, cacheBypass)
	}
	body := errorBody(code, message)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

// answered is a registry's own answer in place of what was asked for: a refusal, a miss, a limit. It is small and held in memory.
type answered struct {
	registry string
	host     string // who said it, where that is not the registry itself but a storage that it redirected to
	status   int
	header   http.Header
	body     []byte
}

// maxErrorBody is how much of an error's body is passed on.
const maxErrorBody = 64 << 10

// takeAnswer reads and closes resp, the answer to u.
func takeAnswer(u upstream.Request, resp *http.Response) *answered {
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	a := &answered{registry: u.Registry.Name, status: resp.StatusCode, header: resp.Header, body: body}
	if at := resp.Request.URL; !sameAuthority(at.Host, u.Base.Host) && !(a.status == http.StatusNotFound && isAPI(at.Path)) {
		a.host = at.Host
	}
	return a
}

// isAPI tells whether a redirect led on to a registry, as all of registry.k8s.io's do, and not to a storage: its 404 then says that
// the image does not exist.
func isAPI(path string) bool {
	return strings.HasPrefix(path, "/v2/") && (strings.Contains(path, "/manifests/") || strings.Contains(path, "/blobs/"))
}

func (a *answered) Error() string {
	if a.status == http.StatusLoopDetected { // our own answer to ourselves, and to a HEAD it has no words
		return loopMessage
	}
	if a.status == http.StatusProxyAuthRequired {
		return cmp.Or(a.host, a.registry) + " answers 407: a proxy on the way from entrepot to it wants a login, which is for the operator to mend"
	}
	if a.host != "" {
		return fmt.Sprintf("%s, to which %s redirects, answers %d %s", a.host, a.registry, a.status, http.StatusText(a.status))
	}
	return fmt.Sprintf("%s answers %d %s", a.registry, a.status, http.StatusText(a.status))
}

// Personal: a refused credential is nobody else's business. A storage gets none: its no is a fault, of a signature or a firewall.
func (a *answered) Personal() bool {
	return a.host == "" && (a.status == http.StatusUnauthorized || a.status == http.StatusForbidden)
}

// troubled tells whether upstream could not say, in which case what we remember may stand in for its answer.
func troubled(err error) bool {
	var a *answered
	if errors.As(err, &a) {
		return a.host != "" || a.status >= 500 || a.status == http.StatusProxyAuthRequired || a.status == http.StatusTooManyRequests || a.status == http.StatusRequestTimeout
	}
	var u *upstream.Error
	return errors.As(err, &u) || errors.Is(err, errImpatient)
}

// passedOn are the fields of an upstream error that a client can act on.
var passedOn = []string{"Content-Type", "Www-Authenticate", "Retry-After", "Docker-Distribution-Api-Version", "Ratelimit-Limit", "Ratelimit-Remaining", "Docker-Ratelimit-Source"}

// fail answers with what went wrong upstream: its own words where it had some, and its class of status in any case, so that nobody
// takes a refused credential for a missing image.
func (q *request) fail(w http.ResponseWriter, r *http.Request, err error) {
	q.err = err
	if q.cache == "" {
		q.outcome(w, cacheBypass)
	}
	var a *answered
	var no *upstream.Refused
	var silent *upstream.Error
	switch {
	case q.byPassword && q.door == doorMirror && q.anonymous && personal(err):
		// Not the registry's challenge: the client would answer it with the password that it has for us.
		q.refuse(w, http.StatusForbidden, codeDenied, err.Error()+": this mirror has no credential that reads "+q.repo)
	case q.byPassword && unauthorized(err):
		// Upstream's challenge would send the client to upstream's realm with the password that it has for us.
		q.refuse(w, http.StatusForbidden, codeDenied, q.registry+" wants a login of its own for this, and the one that came was for this mirror")
	case errors.As(err, &a) && a.busy() && q.wants503(r):
		q.tellBusy(w, a)
	case errors.As(err, &a) && a.host != "" && a.status != http.StatusTooManyRequests:
		q.retryLater(w, http.StatusServiceUnavailable, err)
	case errors.As(err, &a) && a.status == http.StatusProxyAuthRequired: // it would be taken for ours
		q.refuse(w, http.StatusBadGateway, codeUnavailable, a.Error())
	case errors.As(err, &a):
		q.relayAnswer(w, r, a)
		if a.status == http.StatusUnauthorized && r.Header.Get("Authorization") == "" {
			q.err = nil // the registry asks who is there, as it does at the start of every pull
		}
	case errors.As(err, &no):
		if no.Challenge != "" {
			q.ownRealms(w.Header(), []string{no.Challenge}, r)
		}
		hint := ": log in, or the repository does not exist"
		if q.withoutCredential() {
			hint = ": the repository is private or does not exist. " + noCredentialHint
		}
		q.refuse(w, http.StatusUnauthorized, codeUnauthorized, no.Error()+hint)
	case errors.Is(err, upstream.ErrOurselves):
		q.refuse(w, http.StatusLoopDetected, codeDenied, loopMessage)
	case errors.Is(err, errImpatient):
		q.retryLater(w, http.StatusServiceUnavailable, err)
	case errors.Is(err, errOffline):
		q.retryLater(w, http.StatusServiceUnavailable, fmt.Errorf("%w, and does not hold this", err))
	case r.Context().Err() != nil:
		q.status, q.err = statusClientGone, errClientGone
		// Who is still there, since only his half is closed or since it is we who go, would take silence for an empty 200.
		panic(http.ErrAbortHandler)
	case errors.Is(err, errNoManifest) && !errors.As(err, &silent): // a layer's digest, say
		q.refuse(w, http.StatusNotFound, codeManifestUnknown, err.Error())
	case errors.As(err, &silent) && silent.Timeout():
		q.retryLater(w, http.StatusGatewayTimeout, err)
	default:
		q.retryLater(w, http.StatusServiceUnavailable, err)
	}
}

// withoutCredential tells whether upstream was asked with no credential at all, the client's or ours, at a door where clients bring none.
func (q *request) withoutCredential() bool {
	return q.door == doorMirror && q.anonymous && q.own.IsZero()
}

const noCredentialHint = "This mirror has no credential for it: pull by the proxy door, where the client's own login is passed on, " +
	"or give the registry credentials in the configuration file"

// unauthorized tells whether upstream asks who is there.
func unauthorized(err error) bool {
	var a *answered
	var no *upstream.Refused
	return errors.As(err, &no) || errors.As(err, &a) && a.host == "" && a.status == http.StatusUnauthorized
}

// statusClientGone stands in the log where there was nobody left to answer (nginx's convention), or no time.
const statusClientGone = 499

// soon is when to come again where nobody has said, in seconds.
const soon = "5"

func (q *request) retryLater(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Retry-After", soon)
	q.refuse(w, status, codeUnavailable, err.Error())
}

func (q *request) relayAnswer(w http.ResponseWriter, r *http.Request, a *answered) {
	h := w.Header()
	for _, name := range passedOn {
		if v, ok := a.header[name]; ok {
			h[name] = v
		}
	}
	q.ownRealms(h, h["Www-Authenticate"], r)
	if !json.Valid(bytes.TrimSpace(a.body)) {
		message := a.Error()
		if a.host == "" && a.status == http.StatusUnauthorized && q.withoutCredential() {
			message += ". " + noCredentialHint
		}
		q.refuse(w, a.status, codeOf(a.status, q.kind), message)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	w.Write(a.body)
}

// codeOf is the code for a registry's status that came without one. A 404 to a question for referrers means that the registry does not
// have them at all (distribution-spec, "Listing Referrers"): with NAME_UNKNOWN clients would not look for the referrers tag.
func codeOf(status int, kind string) string {
	switch {
	case status == http.StatusUnauthorized:
		return codeUnauthorized
	case status == http.StatusForbidden, status == http.StatusLoopDetected:
		return codeDenied
	case status == http.StatusTooManyRequests:
		return codeTooMany
	case status == http.StatusNotFound && kind == kindBlob:
		return codeBlobUnknown
	case status == http.StatusNotFound && kind == kindManifest:
		return codeManifestUnknown
	case status == http.StatusNotFound && kind == kindTags:
		return codeNameUnknown
	case status >= 500:
		return codeUnavailable
	}
	return codeUnsupported
}

// describe sets the fields that every answer with content has. HEAD and GET have the same.
func describe(w http.ResponseWriter, d cache.Digest, mediaType string) {
	describing(d, mediaType).set(w.Header())
}

// fields are the values of those fields. They are made once where content is answered with again and again: Header.Set makes a slice
// for each field of each answer, and all of them together were half of the allocations of a hit.
type fields struct{ digest, etag, mediaType []string }

func describing(d cache.Digest, mediaType string) fields {
	all := []string{d.String(), `"` + d.String() + `"`, mediaType}
	return fields{all[0:1:1], all[1:2:2], all[2:3:3]}
}

var (
	apiVersion = []string{"registry/2.0"}
	noSniff    = []string{"nosniff"}
)

func (f fields) set(h http.Header) {
	h["Docker-Content-Digest"] = f.digest
	h["Docker-Distribution-Api-Version"] = apiVersion
	h["Etag"] = f.etag
	h["Content-Type"] = f.mediaType
	h["X-Content-Type-Options"] = noSniff
}

func age(w *countingWriter, since, now time.Time) {
	w.age[0] = strconv.Itoa(max(0, int(now.Sub(since).Seconds())))
	w.Header()["Age"] = w.age[:]
}
