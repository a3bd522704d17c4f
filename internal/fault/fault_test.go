package fault_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ferry-migrate/ferry/internal/fault"
)

func TestClassSurvivesWrapping(t *testing.T) {
	base := errors.New("no space")
	err := fmt.Errorf("write: %w", fault.Operator("FERRY-X", "free space", base))
	require.Equal(t, fault.ClassOperator, fault.ClassOf(err))
	require.Equal(t, "FERRY-X", fault.CodeOf(err))
	require.Equal(t, "free space", fault.RemedyOf(err))
	require.ErrorIs(t, err, base)
	require.Equal(t, fault.ClassPermanent, fault.ClassOf(base))
	require.Equal(t, fault.ClassTemporary, fault.ClassOf(fmt.Errorf("x: %w", fault.Temporary(base))))
	require.NoError(t, fault.Temporary(nil))
	require.NoError(t, fault.Permanent(nil))
	require.NoError(t, fault.Operator("c", "r", nil))
	require.True(t, fault.Cancelled(fmt.Errorf("x: %w", context.Canceled)))
	require.Equal(t, []string{"permanent", "temporary", "operator"},
		[]string{fault.ClassPermanent.String(), fault.ClassTemporary.String(), fault.ClassOperator.String()})
}
