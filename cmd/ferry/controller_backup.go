package main

import (
	"fmt"

	"github.com/ferry-migrate/ferry/controller"
	"github.com/spf13/cobra"
)

// controllerBackupCommand copies a store, also of a control plane that runs.
func controllerBackupCommand(stores *storeFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a copy of the store and its keys to a new file",
		Long: "Write one consistent copy of an SQLite store, and of the keys it is sealed with, to a new file. The controller may run. Keep\n" +
			"the file as safe as the controller itself. A PostgreSQL store is backed up with pg_dump.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := stores.resolve(); err != nil {
				return err
			}
			if err := controller.Backup(cmd.Context(), stores.store, stores.keyFile, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "the store and its keys are in %s: keep it secret\n", args[0])
			return nil
		},
	}
}

// controllerRestoreCommand puts a backup back.
func controllerRestoreCommand(stores *storeFlags) *cobra.Command {
	var overwrite bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put back a store and its keys from a backup",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := stores.resolve(); err != nil {
				return err
			}
			if err := controller.Restore(cmd.Context(), stores.store, stores.keyFile, args[0], overwrite); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "restored %s\n", stores.store)
			return nil
		},
	}
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace the store that is there")
	return cmd
}
