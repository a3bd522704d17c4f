package redis

import (
	"context"
	"fmt"

	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// Vitals are what source and target say of themselves while a migration runs.
type Vitals struct {
	SourceKeys, TargetKeys int64 // in all databases; the target's include a mark, see package comment
	TargetInput            int64 // bytes a second that come in, as the target measures them
	TargetOps              int64 // commands a second, as the target measures them
}

// Look asks both servers. The source of an import has none.
func (m *Migration) Look(ctx context.Context) (v Vitals, err error) {
	if len(m.From.Addrs) > 0 {
		c, err := dialMaster(ctx, m.From, resp.Options{})
		if err != nil {
			return v, fmt.Errorf("source: %w", err)
		}
		defer c.Close()
		s, err := inspect(c)
		if err != nil {
			return v, fmt.Errorf("source: %w", err)
		}
		v.SourceKeys = s.total()
	}
	c, err := resp.Dial(ctx, m.To, resp.Options{})
	if err != nil {
		return v, fmt.Errorf("target: %w", err)
	}
	defer c.Close()
	s, err := inspect(c)
	if err != nil {
		return v, fmt.Errorf("target: %w", err)
	}
	v.TargetKeys, v.TargetInput, v.TargetOps = s.total(), s.input, s.ops
	return v, nil
}
