package store

import (
	"fmt"
	"strings"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// Channel is what secures the data channel of a task.
type Channel struct {
	Keys       smsapi.CertKey
	Passphrase []byte // sealed
	Made       int64
}

// Channel returns the channel of a task, or ErrNotFound.
func (t *Tx) Channel(task *Task) (*Channel, error) {
	c := &Channel{}
	err := t.one("SELECT keys, passphrase, made FROM channels WHERE task = ?", task.Number)(document{&c.Keys}, &c.Passphrase, &c.Made)
	if err != nil {
		return nil, fmt.Errorf("channel: %w", err)
	}
	return c, nil
}

// PutChannel stores the channel of a task that has none.
func (t *Tx) PutChannel(task *Task, c *Channel) error {
	_, err := t.exec("INSERT INTO channels (task, keys, passphrase, made) VALUES (?, ?, ?, ?)", task.Number, document{c.Keys}, c.Passphrase, c.Made)
	if err != nil {
		return fmt.Errorf("store channel: %w", err)
	}
	return nil
}

// Logs returns the newest logs of a task and when they came, or ErrNotFound.
func (t *Tx) Logs(task *Task) (data []byte, taken int64, err error) {
	if err := t.one("SELECT data, taken FROM logs WHERE task = ?", task.Number)(&data, &taken); err != nil {
		return nil, 0, fmt.Errorf("logs: %w", err)
	}
	return data, taken, nil
}

// PutLogs stores the logs of a task in place of those before.
func (t *Tx) PutLogs(task *Task, data []byte, now int64) error {
	_, err := t.exec("INSERT INTO logs (task, taken, data) VALUES (?, ?, ?) ON CONFLICT (task) DO UPDATE SET taken = excluded.taken, data = excluded.data",
		task.Number, now, data)
	if err != nil {
		return fmt.Errorf("store logs: %w", err)
	}
	return nil
}

// SourcesOf returns the sources of tasks, by id. Those that are not registered are left out.
func (t *Tx) SourcesOf(tasks ...*Task) (map[string]*Source, error) {
	sources, ids := map[string]*Source{}, []any{}
	for _, task := range tasks {
		if id := task.Request.SourceServer.ID; sources[id] == nil {
			sources[id] = &Source{}
			ids = append(ids, id)
		}
	}
	clear(sources)
	if len(ids) == 0 {
		return sources, nil
	}
	err := t.each(func(row scan) error {
		s, err := scanSource(row)
		sources[s.ID] = s
		return err
	}, "SELECT "+sourceColumns+" FROM sources WHERE id IN (?"+strings.Repeat(", ?", len(ids)-1)+")", ids...)
	if err != nil {
		return nil, fmt.Errorf("read sources of tasks: %w", err)
	}
	return sources, nil
}
