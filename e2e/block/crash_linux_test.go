package block

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/e2e/proxy"
)

// rig is a source image of content that no filesystem has, so all of it is in use, and a target on another port.
type rig struct {
	t                    *testing.T
	source, target       string
	state, stateOfTarget string
	content              []byte
	server               *server
	rnd                  *rand.ChaCha8
}

func newRig(t *testing.T, size int) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{
		t: t, source: filepath.Join(dir, "source.img"), target: filepath.Join(dir, "target.img"), state: filepath.Join(dir, "state"),
		stateOfTarget: filepath.Join(dir, "state of target"), content: make([]byte, size), rnd: rand.NewChaCha8([32]byte{7}),
	}
	_, _ = r.rnd.Read(r.content)
	clear(r.content[size/4 : size/2])
	r.write()
	return r
}

func (r *rig) write() {
	r.t.Helper()
	require.NoError(r.t, os.WriteFile(r.source, r.content, 0o600))
}

// change changes every eighth megabyte of the source, from first on.
func (r *rig) change(first int) {
	r.t.Helper()
	for at := first << 20; at+5000 < len(r.content); at += 8 << 20 {
		_, _ = r.rnd.Read(r.content[at : at+5000])
	}
	r.write()
}

func (r *rig) serve(env ...string) {
	r.t.Helper()
	if r.server != nil {
		r.server.kill()
	}
	r.server = serve(r.t, env, "--into", "image:"+r.target, "--state", r.stateOfTarget)
}

func (r *rig) migrate(env ...string) result {
	r.t.Helper()
	return begin(r.t, env, "migrate", r.source, "--to", r.server.addr, "--pair", r.server.pair, "--state", r.state).wait(r.t)
}

// equal brings the target in step without faults and compares it.
func (r *rig) equal() {
	r.t.Helper()
	r.serve()
	o := r.migrate()
	require.Zero(r.t, o.exit, o.stderr)
	require.Zero(r.t, o.Differences)
	got, err := os.ReadFile(r.target)
	require.NoError(r.t, err)
	require.True(r.t, bytes.Equal(r.content, got), "source and target are equal")
}

// TestCrashPoints ends either side at every crash point that it reaches, the first and the last time, in a first copy and in a sync.
// After the sync the source goes back to what it was: what was sent and not acknowledged must not be taken for what is there.
func TestCrashPoints(t *testing.T) {
	for _, side := range []string{"source", "target"} {
		for pass, word := range []string{"first", "sync"} {
			for name, hits := range traceOf(t, side, pass) {
				for _, at := range slices.Compact([]int{1, hits}) {
					t.Run(fmt.Sprintf("%s/%s/%s:%d", side, word, name, at), func(t *testing.T) {
						t.Parallel()
						crash(t, side, pass, "FERRY_CRASH_AT="+name+":"+fmt.Sprint(at))
					})
				}
			}
		}
	}
}

const crashSize = 9<<20 + 4097

// crash does passes up to the one that is to crash, with env on one side.
func crash(t *testing.T, side string, pass int, env string) {
	r := newRig(t, crashSize)
	before := slices.Clone(r.content)
	if pass > 0 {
		r.equal()
		r.change(0)
	}
	if side == "target" {
		r.serve(env)
		p := begin(t, nil, "migrate", r.source, "--to", r.server.addr, "--pair", r.server.pair, "--state", r.state)
		_ = r.server.cmd.Wait()  // it crashes
		_ = p.cmd.Process.Kill() // it would wait for the target to come back
		p.wait(t)
	} else {
		r.serve()
		require.NotZero(t, r.migrate(env).exit, "it crashes")
	}
	if pass > 0 {
		r.content = before
		r.write()
	}
	r.equal()
}

// traceOf returns which crash points of package block one side reaches in a pass, and how often.
func traceOf(t *testing.T, side string, pass int) map[string]int {
	r := newRig(t, crashSize)
	file := filepath.Join(t.TempDir(), "trace")
	if pass > 0 {
		r.equal()
		r.change(0)
	}
	env := "FERRY_CRASH_TRACE=" + file
	if side == "target" {
		r.serve(env)
		require.Zero(t, r.migrate().exit)
	} else {
		r.serve()
		require.Zero(t, r.migrate(env).exit)
	}
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	hits := map[string]int{}
	for _, name := range strings.Fields(string(b)) {
		if strings.HasPrefix(name, "block.") {
			hits[name]++
		}
	}
	require.NotEmpty(t, hits)
	return hits
}

// TestKills ends either side, or the line between them, at random moments of a first copy and of syncs.
func TestKills(t *testing.T) {
	r := newRig(t, 64<<20)
	r.serve()
	p, err := proxy.New(r.server.addr)
	require.NoError(t, err)
	defer p.Close()
	for round := range 9 {
		p.Forget()
		p.SetServer(r.server.addr)
		m := begin(t, nil, "migrate", r.source, "--to", p.Addr(), "--pair", r.server.pair, "--state", r.state, "--compress", "none")
		n := int64(r.rnd.Uint64()%(30<<20)) + 10<<10
		switch round % 3 {
		case 0:
			p.After(n, func() { _ = m.cmd.Process.Kill() })
		case 1:
			p.After(n, func() { _ = r.server.cmd.Process.Kill(); _ = m.cmd.Process.Kill() })
		case 2:
			p.CutAfter(n)
		}
		m.wait(t)
		r.server.kill()
		r.serve()
		if round%4 == 3 {
			r.change(round)
		}
	}
	r.equal()
}

// TestResumeReadsNothingTwice ends the source in the middle of a first copy: of an image that nobody wrote since, what the target had
// acknowledged is neither read nor sent again.
func TestResumeReadsNothingTwice(t *testing.T) {
	r := newRig(t, 64<<20)
	past := "200001010000"
	tool(t, "touch", "-t", past, r.source)
	r.serve("FERRY_CRASH_AT=block.saved:2")
	p := begin(t, nil, "migrate", r.source, "--to", r.server.addr, "--pair", r.server.pair, "--state", r.state, "--limit", "8MiB")
	_ = r.server.cmd.Wait() // the second acknowledgement is not sent
	_ = p.cmd.Process.Kill()
	p.wait(t)
	r.serve()
	o := r.migrate()
	require.Zero(t, o.exit, o.stderr)
	require.Equal(t, "resume", o.Pass)
	require.Greater(t, o.BytesSaved, int64(4<<20))
	require.Equal(t, o.Bytes-o.BytesSaved, o.BytesRead)
	r.equal()
}
