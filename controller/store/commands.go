package store

import (
	"fmt"

	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// Command is an order to the agent of a source. It is told at every poll until it is answered, then the next one is.
type Command struct {
	Number    int64 // counts up; the order in which a source gets them
	SourceID  string
	TaskID    string
	Name      smsapi.CommandName
	Param     smsapi.CommandParam
	Queued    int64
	Delivered *int64 // told to the agent first; nil until then
}

const commandColumns = "number, source_id, task_id, name, param, queued, delivered"

// QueueCommand adds a command to the end of its source's queue, and sets its number. One of the same name that waits for the same
// task already is replaced.
func (t *Tx) QueueCommand(c *Command) error {
	_, err := t.exec("DELETE FROM commands WHERE source_id = ? AND task_id = ? AND name = ? AND answered IS NULL", c.SourceID, c.TaskID, c.Name)
	if err == nil {
		err = t.one("INSERT INTO commands (source_id, task_id, name, param, queued) VALUES (?, ?, ?, ?, ?) RETURNING number",
			c.SourceID, c.TaskID, c.Name, document{c.Param}, c.Queued)(&c.Number)
	}
	if err != nil {
		return fmt.Errorf("queue command %s: %w", c.Name, err)
	}
	return nil
}

// NextCommand returns the oldest command of a source that is not answered, or ErrNotFound.
func (t *Tx) NextCommand(source string) (*Command, error) {
	return t.command("WHERE source_id = ? AND answered IS NULL ORDER BY number LIMIT 1"+forUpdate, source)
}

// LastAnswered returns the command of a source that was answered last, or ErrNotFound.
func (t *Tx) LastAnswered(source string) (*Command, error) {
	return t.command("WHERE source_id = ? AND answered IS NOT NULL ORDER BY number DESC LIMIT 1", source)
}

func (t *Tx) command(where string, args ...any) (*Command, error) {
	c := &Command{}
	err := t.one("SELECT "+commandColumns+" FROM commands "+where, args...)(
		&c.Number, &c.SourceID, &c.TaskID, &c.Name, document{&c.Param}, &c.Queued, &c.Delivered)
	if err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	return c, nil
}

// DeliverCommand keeps that a command was told, at now, unless it was before.
func (t *Tx) DeliverCommand(c *Command, now int64) error {
	if _, err := t.exec("UPDATE commands SET delivered = ? WHERE number = ? AND delivered IS NULL", now, c.Number); err != nil {
		return fmt.Errorf("deliver command %s: %w", c.Name, err)
	}
	return nil
}

// AnswerCommand keeps the answer to a command, at now, in place of the answer that the source gave before.
func (t *Tx) AnswerCommand(c *Command, result smsapi.CommandResult, now int64) error {
	_, err := t.exec("DELETE FROM commands WHERE source_id = ? AND answered IS NOT NULL", c.SourceID)
	if err == nil {
		_, err = t.exec("UPDATE commands SET answered = ?, result = ?, detail = ? WHERE number = ?",
			now, result.Result, string(result.Detail), c.Number)
	}
	if err != nil {
		return fmt.Errorf("answer command %s: %w", c.Name, err)
	}
	return nil
}

// DropCommands takes the commands of a task that are not answered out of the queue.
func (t *Tx) DropCommands(task string) error {
	if _, err := t.exec("DELETE FROM commands WHERE task_id = ? AND answered IS NULL", task); err != nil {
		return fmt.Errorf("drop commands: %w", err)
	}
	return nil
}

// DropQueue forgets all commands of a source, answered ones too.
func (t *Tx) DropQueue(source string) error {
	if _, err := t.exec("DELETE FROM commands WHERE source_id = ?", source); err != nil {
		return fmt.Errorf("drop commands: %w", err)
	}
	return nil
}
