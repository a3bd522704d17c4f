package agent

import (
	"context"
	"fmt"

	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/transfer"
)

// missing is a subtask whose mechanism this version does not have. It does nothing and says so.
type missing struct{ name string }

// Name returns the subtask's name.
func (m missing) Name() string { return m.name }

// Run returns FERRY-NOT-BUILT.
func (m missing) Run(context.Context, *Task) error {
	return fault.Operator("FERRY-NOT-BUILT", "migrate files to a running `ferry target`, or use a later version",
		fmt.Errorf("this version of ferry cannot do %s", m.name))
}

// Progress is empty.
func (missing) Progress() transfer.Progress { return transfer.Progress{} }
