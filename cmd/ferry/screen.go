package main

import (
	"strings"
	"sync"
)

// screen lets several goroutines use one renderer.
type screen struct {
	mu sync.Mutex
	r  renderer
}

func newScreen(r renderer) *screen { return &screen{r: r} }

func (s *screen) progress(e progressEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.r.Progress(e)
}

func (s *screen) pass(e passEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.r.Pass(e)
}

func (s *screen) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.r.Note(text)
}

func (s *screen) result(e resultEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.r.Result(e)
}

// noteWriter makes log lines notes.
type noteWriter struct{ s *screen }

func (w noteWriter) Write(p []byte) (int, error) {
	w.s.note(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}
