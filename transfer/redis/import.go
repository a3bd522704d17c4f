package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// Import puts files on the target, in their order: snapshots (RDB), append-only files with or without a snapshot in front, and manifests
// of append-only files in several parts, which stand for their parts. A file is a path, an http or https URL, or s3://BUCKET/KEY in
// Config.Objects. Config.From and Once do
// not matter. What an import before left unfinished on a target that was empty then is removed first: an import always begins at the
// beginning. An append-only file may end within a command or a transaction, as after a crash: that is left out, as Redis does.
func (m *Migration) Import(ctx context.Context, files []string) error {
	m.id = identity(&m.Config, files...)
	lock, err := m.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	if files, err = parts(files); err != nil {
		return err
	}
	if err := m.readable(ctx, files); err != nil {
		return err
	}
	c, err := m.dialTarget(ctx)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	defer c.Close()
	if m.target, err = inspect(c); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	if m.Filter.byKey() {
		if m.keyed, err = readKeyTable(c); err != nil {
			return err
		}
	}
	if pos, err := m.where(c); err != nil {
		return err
	} else if pos != nil {
		if err := m.again(record{}); err != nil {
			return err
		}
	}
	if err := m.begin(c); err != nil {
		return err
	}
	m.stats.begin(&copying)
	m.applied.Store(&position{Replid: "-"})
	m.marked.Store(-1)
	for _, name := range files {
		if err := m.importFile(ctx, name); err != nil {
			return fmt.Errorf("%s: %w", shown(name), err)
		}
	}
	done, err := m.dialTarget(ctx) // the first one was silent for long
	if err != nil {
		return err
	}
	defer done.Close()
	_, err = done.Do("DEL", m.markKey())
	return err
}

// parts puts the parts of manifests in their place.
func parts(files []string) (all []string, err error) {
	for _, name := range files {
		if !strings.HasSuffix(name, ".manifest") || remote(name) || strings.HasPrefix(name, objectScheme) {
			all = append(all, name)
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, unreadable(err)
		}
		for line := range strings.Lines(string(text)) {
			var file, kind string
			var n int64
			if _, err := fmt.Sscanf(line, "file %s seq %d type %s", &file, &n, &kind); err != nil || file != filepath.Base(file) {
				return nil, fault.Operator("FERRY-REDIS-FILE", "give the manifest of an append-only file of Redis 7", fmt.Errorf("%s: a line %q", name, line))
			}
			if kind != "h" { // history: no longer part of it
				all = append(all, filepath.Join(filepath.Dir(name), file))
			}
		}
	}
	return all, nil
}

func remote(name string) bool {
	return strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://")
}

func unreadable(err error) error {
	return fault.Operator("FERRY-REDIS-FILE", "check the path, and that you may read it", err)
}

// readable opens every file, so that one that cannot be read is told before the target is changed.
func (m *Migration) readable(ctx context.Context, files []string) error {
	for _, name := range files {
		f, _, err := m.openFile(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", shown(name), err)
		}
		f.Close()
	}
	return nil
}

// openFile opens a path or a URL; size is 0 if not known.
func (m *Migration) openFile(ctx context.Context, name string) (r io.ReadCloser, size int64, err error) {
	if object, found := strings.CutPrefix(name, objectScheme); found {
		request, err := m.Objects.get(ctx, object)
		if err != nil {
			return nil, 0, err
		}
		return download(request)
	}
	if remote(name) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, name, nil)
		if err != nil {
			return nil, 0, unreadable(errors.New("not a URL")) // what was signed beforehand is a secret
		}
		return download(request)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, unreadable(err)
	}
	st, err := f.Stat()
	if err != nil || st.IsDir() {
		f.Close()
		return nil, 0, unreadable(errors.Join(err, errors.New("not a file")))
	}
	return f, st.Size(), nil
}

// download opens what a request asks for.
func download(request *http.Request) (r io.ReadCloser, size int64, err error) {
	answer, err := http.DefaultClient.Do(request)
	var plain *url.Error
	if errors.As(err, &plain) {
		err = plain.Err // the URL may hold a signature
	}
	if err != nil {
		return nil, 0, fault.Temporary(err)
	}
	switch {
	case answer.StatusCode == http.StatusOK:
		return answer.Body, max(answer.ContentLength, 0), nil
	case answer.StatusCode >= http.StatusInternalServerError, answer.StatusCode == http.StatusTooManyRequests:
		err = fault.Temporary(fmt.Errorf("the server answered %s", answer.Status))
	default:
		err = unreadable(fmt.Errorf("the server answered %s", answer.Status))
	}
	answer.Body.Close()
	return nil, 0, err
}

// shown is a file's name without what may be secret in it: the query of a URL that was signed beforehand.
func shown(name string) string {
	if remote(name) {
		name, _, _ = strings.Cut(name, "?")
	}
	return name
}

// limited holds a reader to a limit.
type limited struct {
	io.Reader
	ctx   context.Context
	limit ratelimit.Limiter
}

func (l limited) Read(b []byte) (int, error) {
	n, err := l.Reader.Read(b[:min(len(b), l.limit.Piece())])
	if waited := l.limit.WaitN(l.ctx, n); waited != nil {
		return n, waited
	}
	return n, err
}

func (m *Migration) importFile(ctx context.Context, name string) error {
	f, size, err := m.openFile(ctx, name)
	if err != nil {
		return err
	}
	defer f.Close()
	m.stats.bytesTotal.Store(size)
	var in io.Reader = f
	if m.Limiter != nil {
		in = limited{f, ctx, m.Limiter}
	}
	r := resp.NewReader(in)
	head, err := r.Buffer().Peek(5)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if string(head) == "REDIS" {
		l := &loader{dial: m.dialTarget, target: m.target, policy: m.policy(), filter: &m.Filter, stats: &m.stats, repeat: m.repeat, log: m.Log}
		if err := l.load(ctx, r.Buffer(), m.Lanes); err != nil {
			return err
		}
	}
	if _, err := r.Buffer().Peek(1); err != nil { // nothing, or nothing more
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	}
	return m.importCommands(ctx, r)
}

// importCommands applies the commands of an append-only file.
func (m *Migration) importCommands(ctx context.Context, r *resp.Reader) error {
	if head, err := r.Buffer().Peek(1); err != nil || head[0] != '*' && head[0] != '#' {
		return fault.Operator("FERRY-REDIS-FILE", "give a snapshot (RDB) or an append-only file (AOF)", errors.Join(err, errors.New("neither of the two")))
	}
	start := *m.applied.Load() // offsets go on from file to file
	start.DB = 0
	queue := make(chan *batch, batchesAhead)
	p := &pipe{dial: m.dialTarget, resume: m.resumeImport, accept: m.accept, repeat: m.repeat, queue: queue, log: m.Log}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.run(ctx) })
	g.Go(func() error {
		s := &receiver{Migration: m, at: start, queue: queue}
		for {
			b, err := s.gather(r)
			last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
			if last {
				if s.nested || errors.Is(err, io.ErrUnexpectedEOF) {
					m.stats.lose("the unfinished end of an append-only file", fmt.Sprint("offset ", s.whole.next.Offset))
				}
				b, err = s.cutoff(), nil
			}
			if err != nil {
				return err
			}
			select {
			case queue <- b:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if s.at = b.at; last {
				close(queue)
				return nil
			}
		}
	})
	return g.Wait()
}

// resumeImport is the pipe's: like resume, but a full copy is still going on where no command was applied yet.
func (m *Migration) resumeImport(ctx context.Context, c *resp.Conn, unacked []*batch) ([]*batch, error) {
	if m.marked.Load() < 0 {
		if s, err := inspect(c); err != nil || s.runID != m.target.runID {
			return nil, errors.Join(err, errRestart)
		}
		r, err := c.Do("GET", m.markKey())
		if err != nil {
			return nil, err
		}
		if k, err := parseMark(r.Text()); err != nil || k.Full {
			return unacked, err
		}
	}
	return m.resume(ctx, c, unacked)
}
