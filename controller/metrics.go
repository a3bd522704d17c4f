package controller

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// countTimeout bounds how long a look at the metrics waits for the database.
const countTimeout = 5 * time.Second

// metrics are what /metrics shows, in the text format of Prometheus. Labels have few values: no path, no name, no id.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec   // by operation and HTTP status
	seconds  *prometheus.HistogramVec // by operation
	refused  *prometheus.CounterVec   // by reason: unauthenticated, forbidden, throttled, crowded
}

func newMetrics(db *store.DB, open func() int) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ferry_requests_total", Help: "Requests answered.",
		}, []string{"operation", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ferry_request_seconds", Help: "Time to answer a request.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30},
		}, []string{"operation"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ferry_refused_total", Help: "Requests and connections refused before their operation ran.",
		}, []string{"reason"}),
	}
	connections := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ferry_connections", Help: "Connections open.",
	}, func() float64 { return float64(open()) })
	m.registry.MustRegister(m.requests, m.seconds, m.refused, connections, &census{db: db},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) answered(operation string, status int, took time.Duration) {
	m.requests.WithLabelValues(operation, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(operation).Observe(took.Seconds())
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 2})
}

// census counts what is in the database, when somebody looks.
type census struct{ db *store.DB }

var (
	migrationsMetric = prometheus.NewDesc("ferry_migrations", "Migrations of Redis by status.", []string{"status"}, nil)
	tasksMetric      = prometheus.NewDesc("ferry_tasks", "Tasks by state.", []string{"state"}, nil)
	sourcesMetric    = prometheus.NewDesc("ferry_sources", "Registered sources by state, with a task or without.", []string{"state", "task"}, nil)
)

// Describe implements prometheus.Collector.
func (c *census) Describe(to chan<- *prometheus.Desc) {
	to <- tasksMetric
	to <- sourcesMetric
}

// Collect implements prometheus.Collector.
func (c *census) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	var tasks, migrations map[string]int
	var sources []store.StateCount
	err := c.db.View(ctx, func(tx *store.Tx) (err error) {
		if tasks, err = tx.CountTasks(); err == nil {
			sources, err = tx.CountSources()
		}
		if err == nil {
			migrations, err = tx.CountMigrations()
		}
		return err
	})
	if err != nil {
		to <- prometheus.NewInvalidMetric(tasksMetric, err)
		return
	}
	for state, n := range tasks {
		to <- prometheus.MustNewConstMetric(tasksMetric, prometheus.GaugeValue, float64(n), state)
	}
	for status, n := range migrations {
		to <- prometheus.MustNewConstMetric(migrationsMetric, prometheus.GaugeValue, float64(n), status)
	}
	for _, c := range sources {
		to <- prometheus.MustNewConstMetric(sourcesMetric, prometheus.GaugeValue, float64(c.Count), string(c.State), strconv.FormatBool(c.WithTask))
	}
}
