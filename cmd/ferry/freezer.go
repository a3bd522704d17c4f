package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ferry-migrate/ferry/transfer/snapshot"
)

// freezerCommand is what ferry starts of itself to freeze filesystems; people have no use for it.
func freezerCommand() *cobra.Command {
	return &cobra.Command{
		Use: snapshot.FreezerCommand + " COUNT", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 || n > 1000 {
				return usagef("ferry starts this by itself")
			}
			return snapshot.Freezer(n)
		},
	}
}
