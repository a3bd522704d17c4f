package machine

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/dcsapi"
	"github.com/ferry-migrate/ferry/transfer/ratelimit"
	"github.com/ferry-migrate/ferry/transfer/redis"
	"github.com/ferry-migrate/ferry/transfer/redis/resp"
)

// configure turns an order into what package redis migrates. A database that the source names is moved alone, into the one that the
// target names or its own. Errors: FERRY-REDIS-ORDER.
func configure(order dcsapi.Order, dir string) (c redis.Config, err error) {
	c = redis.Config{State: dir, Once: order.Method == dcsapi.FullAmount}
	bandwidth, err := dcsapi.Bandwidth(order.BandwidthLimit)
	if err == nil {
		c.To, err = endpoint(order.Target)
	}
	for _, file := range order.Files {
		if !slices.ContainsFunc([]string{"http://", "https://", "s3://"}, func(scheme string) bool { return strings.HasPrefix(file, scheme) }) {
			err = errors.Join(err, errors.New("a backup file that is no URL")) // those of this server are nobody's business
		}
	}
	if err == nil && order.Type == dcsapi.Online {
		if order.Source == nil {
			return c, badOrder(errors.New("an online migration without a source"))
		}
		if c.From, err = endpoint(*order.Source); err == nil {
			c.Filter, err = filter(*order.Source, order.Target)
		}
	}
	if err != nil {
		return c, badOrder(err)
	}
	if bandwidth > 0 {
		c.Limiter = ratelimit.NewBucket(ratelimit.Constant(bandwidth))
	}
	return c, nil
}

func badOrder(err error) error {
	return fault.Operator("FERRY-REDIS-ORDER", "configure the task anew", err)
}

// endpoint returns how to reach an instance.
func endpoint(i dcsapi.Instance) (e resp.Endpoint, err error) {
	address := i.Address()
	if !strings.Contains(address, "://") {
		address = "redis://" + address
	}
	if e, err = resp.ParseEndpoint(address); err != nil {
		return e, err
	}
	e.Password = i.Password
	return e, nil
}

// filter returns which databases are moved.
func filter(source, target dcsapi.Instance) (f redis.Filter, err error) {
	from, err := source.Database()
	if err != nil {
		return f, fmt.Errorf("database of the source: %w", err)
	}
	to, err := target.Database()
	if err != nil {
		return f, fmt.Errorf("database of the target: %w", err)
	}
	if from < 0 {
		return f, nil
	}
	f.DBs = []int{from}
	if to >= 0 && to != from {
		f.MapDB = map[int]int{from: to}
	}
	return f, nil
}
