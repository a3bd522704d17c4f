//go:build !linux && !windows

package device

import (
	"context"
	"errors"
	"os"

	"github.com/ferry-migrate/ferry/collector/blockdev"
	"github.com/ferry-migrate/ferry/transfer/extent"
)

// Ferry's block level runs on Linux and Windows: elsewhere readHost refuses everything, and the rest is never reached.

type host struct{}

func readHost(string) (*host, error) { return nil, errors.ErrUnsupported }

func (*host) identify(*os.File, blockdev.Info) (Identity, error) {
	return Identity{}, errors.ErrUnsupported
}

func past(dev *blockdev.Device) (reader, string) { return reader{dev, dev.Size(), 1}, "" }

func dataOf(context.Context, *os.File, int64) (extent.List, error) { return nil, errors.ErrUnsupported }

func (*host) mountsOn(Identity) ([]Mount, error) { return nil, errors.ErrUnsupported }

func (*host) user(*os.File, Identity) (string, error) { return "", errors.ErrUnsupported }

func (*host) writers(*os.File) (string, error) { return "", errors.ErrUnsupported }

func claimFile(*os.File, blockdev.Info) (*os.File, error) { return nil, errors.ErrUnsupported }

type window struct{}

func (*window) add(*os.File, int64, int64) error { return nil }

func (t *Target) zero(context.Context, int64, int64) error { return errors.ErrUnsupported }

func (t *Target) room() string { return "" }

func isFull(error) bool     { return false }
func isGone(error) bool     { return false }
func isReadOnly(error) bool { return false }
func isBusy(error) bool     { return false }
func isMedium(error) bool   { return false }
