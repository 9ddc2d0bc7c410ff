package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what Prometheus is told (CONTRACT: the names). There is no label for repositories, of which there are too many.
type metrics struct {
	registry      *prometheus.Registry
	requests      *prometheus.CounterVec
	served        *prometheus.CounterVec
	asked         *prometheus.CounterVec
	upstreamTotal *prometheus.CounterVec

	mu    sync.RWMutex
	kinds map[kindOfRequest]counters
}

// kindOfRequest is what one line of requests counts.
type kindOfRequest struct{ door, registry, kind, cache string }

// counters are what a request adds to, found once for each kind: to find them by their labels took a tenth of our own part of a hit.
type counters struct{ requests, served prometheus.Counter }

func newMetrics(s *Server) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "entrepot_" + name, Help: help}, labels)
	}
	m := &metrics{
		registry:      prometheus.NewRegistry(),
		kinds:         map[kindOfRequest]counters{},
		requests:      counter("requests_total", "Requests by what became of them.", "door", "registry", "kind", "cache"),
		served:        counter("served_bytes_total", "Body bytes sent to clients.", "registry", "source"),
		asked:         counter("upstream_requests_total", "Requests sent to registries and to where they redirect; status 0 is no answer.", "registry", "kind", "status"),
		upstreamTotal: counter("upstream_bytes_total", "Body bytes received from upstream.", "registry"),
	}
	m.registry.MustRegister(m.requests, m.served, m.asked, m.upstreamTotal, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(newPerRegistry(s))
	m.registerStore(s)
	return m
}

// perRegistry is what is measured for each registry when it is asked for.
type perRegistry struct {
	s                *Server
	remaining, isOut *prometheus.Desc
}

func newPerRegistry(s *Server) *perRegistry {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("entrepot_"+name, help, []string{"registry"}, nil)
	}
	return &perRegistry{
		s,
		desc("ratelimit_remaining", "Pulls left, as the registry last said."),
		desc("breaker_open", "1 while the registry is not asked because it gave no answer."),
	}
}

// Describe implements prometheus.Collector.
func (p *perRegistry) Describe(out chan<- *prometheus.Desc) {
	out <- p.remaining
	out <- p.isOut
}

// Collect implements prometheus.Collector.
func (p *perRegistry) Collect(out chan<- prometheus.Metric) {
	p.s.budgets.each(func(registry string, left int) {
		out <- prometheus.MustNewConstMetric(p.remaining, prometheus.GaugeValue, float64(left), registry)
	})
	for _, reg := range p.s.table.Load().Registries() {
		if strings.Contains(reg.Name, "*") {
			continue // a family: its members are known only when they are asked for
		}
		open := 0.0
		if p.s.upstream.Down(reg) {
			open = 1
		}
		out <- prometheus.MustNewConstMetric(p.isOut, prometheus.GaugeValue, open, reg.Name)
	}
}

// registerStore shows what the store counts by itself.
func (m *metrics) registerStore(s *Server) {
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "entrepot_" + name, Help: help}, value))
	}
	total := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "entrepot_" + name, Help: help}, value))
	}
	store := s.cfg.Store
	gauge("cache_bytes", "Bytes of content held.", func() float64 { return float64(store.Usage().Bytes) })
	gauge("cache_objects", "Objects held.", func() float64 { return float64(store.Usage().Objects) })
	gauge("cache_limit_bytes", "The limit of cache_bytes.", func() float64 { return float64(store.Usage().Limit) })
	gauge("fills_in_flight", "Transfers from upstream under way.", func() float64 { return float64(store.Usage().Fills) })
	gauge("ca_expiry_timestamp_seconds", "When the CA certificate ends.", func() float64 { return float64(s.cfg.CA.NotAfter().Unix()) })
	total("evictions_total", "Objects removed to make room.", func() float64 { return float64(store.Counts().Evictions.Load()) })
	total("digest_mismatch_total", "Bodies that were not their digest.", func() float64 { return float64(store.Counts().Mismatches.Load()) })
	total("damaged_total", "Objects dropped because they were not what they must be.", func() float64 { return float64(store.Counts().Damaged.Load()) })
	total("delete_failures_total", "Files that could not be deleted; each is tried again.", func() float64 { return float64(store.Counts().DeleteFailures.Load()) })
	total("uncached_nospace_total", "Pulls that were not kept because the disk would not take them.", func() float64 { return float64(store.Counts().Uncached.Load()) })
}

func (m *metrics) request(q *request, bytes int64) {
	registry := q.reg.Name
	if registry == "" {
		registry = "none" // a client can name any host: not a label's value
	}
	c := m.counters(kindOfRequest{q.door, registry, q.kind, q.cache})
	c.requests.Inc()
	c.served.Add(float64(bytes))
}

func (m *metrics) counters(k kindOfRequest) counters {
	m.mu.RLock()
	c, ok := m.kinds[k]
	m.mu.RUnlock()
	if ok {
		return c
	}
	source := "upstream"
	if k.cache == cacheHit || k.cache == cacheStale || k.cache == cacheRevalidated {
		source = "cache"
	}
	c = counters{m.requests.WithLabelValues(k.door, k.registry, k.kind, k.cache), m.served.WithLabelValues(k.registry, source)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kinds[k] = c
	return c
}

func (m *metrics) upstreamAnswer(registry, kind string, status int) {
	m.asked.WithLabelValues(registry, kind, strconv.Itoa(status)).Inc()
}

// upstreamBytes returns what counts the bytes of a body. It is found once: that takes longer than to count.
func (m *metrics) upstreamBytes(registry string) func(n int) {
	total := m.upstreamTotal.WithLabelValues(registry)
	return func(n int) { total.Add(float64(n)) }
}

func (m *metrics) handler(from prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(from, promhttp.HandlerOpts{Timeout: 10 * time.Second})
}
