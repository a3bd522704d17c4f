//go:build !linux

package agent

import (
	"context"
	"fmt"
	"net"
	"runtime"
)

var errNoControl = fmt.Errorf("local control does not exist on %s yet", runtime.GOOS)

func listenControl(string) (net.Listener, error) { return nil, errNoControl }

func dialControl(context.Context, string) (net.Conn, error) { return nil, errNoControl }

func removeControl(string) error { return nil }
