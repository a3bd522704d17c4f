package controller

import (
	"context"
	"net/http"
	"time"
)

// pingTimeout bounds how long /readyz waits for the database.
const pingTimeout = 2 * time.Second

// probes serves what is not of the API: whether the process lives (/healthz), whether it can work (/readyz), what it counts (/metrics)
// and what it offers (/openapi.json). None holds a secret. /metrics is for this machine only, because a collector cannot sign.
func (s *Server) probes(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) }) //nolint:errcheck // a client that is gone cannot be told
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		text, err := s.openAPI()
		if err != nil {
			s.log.Error("the API is not described", "error", err)
			http.Error(w, "the API is not described", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(text) //nolint:errcheck // a client that is gone cannot be told
	})
	shown := s.metrics.handler()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if !loopback(site(r.RemoteAddr)) {
			http.Error(w, "metrics are shown on this machine only", http.StatusForbidden)
			return
		}
		shown.ServeHTTP(w, r)
	})
}

// ready serves /readyz: 503 while the database does not answer, and from the moment the server begins to stop.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pingTimeout)
	defer cancel()
	err := s.store.Ping(ctx)
	switch {
	case s.stopping.Load():
		http.Error(w, "stopping", http.StatusServiceUnavailable)
	case err != nil:
		s.log.Warn("not ready", "error", err)
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
	default:
		w.Write([]byte("ready\n")) //nolint:errcheck // a client that is gone cannot be told
	}
}
