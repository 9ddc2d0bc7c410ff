package proxy

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/entrepot/entrepot/hosts"
)

// otherRegistry is the label of all registries whose names are not for everybody's eyes.
const otherRegistry = "other"

// serveMetrics tells all to those who may use the admin door, and to others what names no registry that an operator has added: which
// ones a company has, and its accounts' names in those of cloud registries, are nobody's business.
func (s *Server) serveMetrics() http.Handler {
	all, some := s.metrics.handler(s.metrics.registry), s.metrics.handler(discreet(s.metrics.registry))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Where there are passwords, guardAdmin has asked for one.
		if s.ownsData(r) || s.admins.users.Load() != nil || fromHere(r) && namesHere(r.Host) {
			all.ServeHTTP(w, r)
			return
		}
		some.ServeHTTP(w, r)
	})
}

// discreet is the same metrics with one label for all registries but the known public ones.
func discreet(all prometheus.Gatherer) prometheus.Gatherer {
	known := map[string]bool{"none": true}
	for _, r := range hosts.Defaults() {
		known[r.Name] = true
	}
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := all.Gather()
		for _, f := range families {
			f.Metric = merged(f.Metric, known)
		}
		return families, err
	})
}

// merged adds up the counters, and takes the highest gauge, of those that have the same labels once names are left out. What it is given
// may be shared with later gatherings and is not changed.
func merged(in []*dto.Metric, known map[string]bool) []*dto.Metric {
	var out []*dto.Metric
	others := map[string]*dto.Metric{} // by their labels
	for _, m := range in {
		labels, key, hidden := withoutName(m.Label, known)
		if !hidden {
			out = append(out, m)
			continue
		}
		sum, ok := others[key]
		if !ok {
			sum = &dto.Metric{Label: labels}
			others[key] = sum
			out = append(out, sum)
		}
		if m.Counter != nil {
			sum.Counter = &dto.Counter{Value: proto.Float64(sum.GetCounter().GetValue() + m.Counter.GetValue())}
		}
		if m.Gauge != nil {
			sum.Gauge = &dto.Gauge{Value: proto.Float64(max(sum.GetGauge().GetValue(), m.Gauge.GetValue()))}
		}
	}
	return out
}

func withoutName(labels []*dto.LabelPair, known map[string]bool) (out []*dto.LabelPair, key string, hidden bool) {
	var k strings.Builder
	for _, l := range labels {
		if l.GetName() == "registry" && !known[l.GetValue()] {
			l, hidden = &dto.LabelPair{Name: l.Name, Value: proto.String(otherRegistry)}, true
		}
		out = append(out, l)
		k.WriteString(l.GetName() + "\x00" + l.GetValue() + "\x00")
	}
	return out, k.String(), hidden
}
