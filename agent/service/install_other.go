//go:build !linux && !windows

package service

import "context"

func (m *Manager) install(context.Context) error   { return m.service.Install() }
func (m *Manager) uninstall(context.Context) error { return m.service.Uninstall() }
