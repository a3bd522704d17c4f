package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ferry-migrate/ferry/controller"
	"github.com/ferry-migrate/ferry/controller/iam"
	"github.com/ferry-migrate/ferry/controller/store"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/spf13/cobra"
)

// maxPassword is the longest password that the API takes, in bytes.
const maxPassword = 255

// controllerUserCommand keeps the users of a store. The controller may run: it knows them with the next request.
func controllerUserCommand(stores *storeFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Add, list and remove those who may call the control plane",
		Long: "Users are people and programs. An admin may do everything, a reader may look at everything but secrets, an agent may register\n" +
			"sources and do what an agent does with those that it registered.",
	}
	cmd.AddCommand(userAddCommand(stores), userListCommand(stores), userRemoveCommand(stores))
	return cmd
}

// identities opens the users of a store for the time of do.
func (f *storeFlags) identities(cmd *cobra.Command, do func(*iam.Service) error) error {
	if err := f.resolve(); err != nil {
		return err
	}
	db, err := store.Open(cmd.Context(), f.store)
	if err != nil {
		return err
	}
	users, err := controller.OpenIdentities(cmd.Context(), db, f.keyFile, time.Now)
	if err == nil {
		err = do(users)
	}
	return errors.Join(err, db.Close())
}

func userAddCommand(stores *storeFlags) *cobra.Command {
	var role, passwordFile, out string
	cmd := &cobra.Command{
		Use:   "add NAME --role ROLE",
		Short: "Add a user and write its key to a new file of mode 0600",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				out = args[0] + "-key.json"
			}
			if _, err := os.Lstat(out); err == nil {
				return fault.Operator("FERRY-KEY-FILE", "name another file with --out", fmt.Errorf("%s exists", out))
			}
			password, err := readPassword(passwordFile, cmd.InOrStdin())
			if err != nil {
				return err
			}
			return stores.identities(cmd, func(users *iam.Service) error {
				key, err := users.Add(cmd.Context(), args[0], iam.Role(role), password)
				if err != nil {
					return err
				}
				if err := controller.WriteKey(out, key); err != nil {
					return errors.Join(err, users.Remove(cmd.Context(), args[0]))
				}
				fmt.Fprintf(cmd.OutOrStdout(), "added %s (%s), key in %s\n", args[0], role, out)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "admin, reader, agent or machine")
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "file with a password for POST /v3/auth/tokens, - = standard input")
	cmd.Flags().StringVar(&out, "out", "", "file to write the key to (default NAME-key.json)")
	return cmd
}

// readPassword reads a password, without the end of its line; an empty path is none.
func readPassword(path string, stdin io.Reader) (string, error) {
	if path == "" {
		return "", nil
	}
	from := stdin
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("password: %w", err)
		}
		defer file.Close()
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, maxPassword+3))
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" || len(password) > maxPassword {
		return "", fault.Operator("FERRY-USER", "use 1 to 255 bytes", errors.New("the password is empty or too long"))
	}
	return password, nil
}

func userListCommand(stores *storeFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the users, never their secrets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return stores.identities(cmd, func(users *iam.Service) error {
				list, err := users.List(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(list)
				}
				table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "NAME\tROLE\tPASSWORD\tACCESS KEYS")
				for _, u := range list {
					fmt.Fprintf(table, "%s\t%s\t%v\t%s\n", u.Name, u.Role, u.Password, strings.Join(u.AccessKeys, " "))
				}
				return table.Flush()
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func userRemoveCommand(stores *storeFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a user with its keys and tokens; its sources belong to nobody then",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return stores.identities(cmd, func(users *iam.Service) error { return users.Remove(cmd.Context(), args[0]) })
		},
	}
}
