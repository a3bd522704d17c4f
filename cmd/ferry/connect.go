package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ferry-migrate/ferry/controller"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// Environment variables with an access key, as the vendor's SDKs read them.
const (
	envAccessKey = "CLOUD_SDK_AK"
	envSecretKey = "CLOUD_SDK_SK"
)

// envCAFile names a PEM file with the authority of the controller.
const envCAFile = "FERRY_CA_FILE"

// connect returns a client of a controller: the one at url, else the one that the state directory records. When that one no longer
// runs, a short-lived one serves what the directory's database holds. Call close when done.
func connect(ctx context.Context, url, state string) (client *reporter.Client, close func(), err error) {
	if url != "" {
		client, err = openClient(url, smsapi.Key{AccessKey: os.Getenv(envAccessKey), SecretKey: os.Getenv(envSecretKey)}, "")
		if err != nil {
			return nil, nil, err
		}
		return client, client.Close, nil
	}
	record, err := readControllerRecord(state)
	if err != nil {
		return nil, nil, err
	}
	if record.URL != "" {
		client, err := recorded(ctx, record)
		if err == nil {
			return client, client.Close, nil
		}
		if fault.ClassOf(err) != fault.ClassTemporary {
			return nil, nil, err
		}
	}
	return history(ctx, state)
}

// recorded returns a client of the controller that a state directory records, once that has answered.
func recorded(ctx context.Context, record controllerRecord) (*reporter.Client, error) {
	key := smsapi.Key{AccessKey: os.Getenv(envAccessKey), SecretKey: os.Getenv(envSecretKey)}
	if record.AdminKeyFile != "" {
		var err error
		if key, err = controller.ReadKey(record.AdminKeyFile); err != nil {
			return nil, err
		}
	}
	client, err := openClient(record.URL, key, record.CAFile)
	if err != nil {
		return nil, err
	}
	if _, err := client.ListTasks(ctx, smsapi.TaskQuery{}); err != nil {
		client.Close()
		return nil, err
	}
	return client, nil
}

// openClient returns a client that trusts the authority in caFile, else in FERRY_CA_FILE, else those of the system.
func openClient(url string, key smsapi.Key, caFile string) (*reporter.Client, error) {
	if caFile = cmp.Or(caFile, os.Getenv(envCAFile)); caFile == "" {
		return reporter.NewClient(url, key)
	}
	text, err := os.ReadFile(caFile)
	authorities := x509.NewCertPool()
	if err == nil && !authorities.AppendCertsFromPEM(text) {
		err = fmt.Errorf("%s holds no certificate", caFile)
	}
	if err != nil {
		return nil, fault.Operator("FERRY-CA-FILE", "name the ca.pem of the controller", fmt.Errorf("authority: %w", err))
	}
	if key.AccessKey == "" || key.SecretKey == "" {
		return reporter.NewClient(url, key) // says what is missing
	}
	return reporter.Open(reporter.Options{Endpoint: url, Auth: &reporter.KeyAuth{Key: key}, CAs: authorities})
}

// history serves the database of a state directory to this process.
func history(ctx context.Context, state string) (*reporter.Client, func(), error) {
	database := filepath.Join(state, databaseFile)
	if _, err := os.Stat(database); err != nil {
		return nil, nil, fault.Operator("FERRY-NO-CONTROLLER", "name the state directory of a migration with --state, or a controller with --controller",
			fmt.Errorf("no controller is known in %s: %w", state, err))
	}
	server, err := controller.Start(ctx, controller.Config{Store: "sqlite:" + database})
	if err != nil {
		return nil, nil, err
	}
	client, err := reporter.NewClient(server.URL(), server.Key())
	if err != nil {
		return nil, nil, errors.Join(err, server.Close())
	}
	return client, func() {
		client.Close()
		server.Close() //nolint:errcheck // it only read
	}, nil
}
