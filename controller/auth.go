package controller

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/ferry-migrate/ferry/internal/durable"
	"github.com/ferry-migrate/ferry/internal/fault"
	"github.com/ferry-migrate/ferry/reporter/smsapi"
)

// Lengths of the vendor's access and secret keys, which some clients check.
const (
	accessKeyLength = 20
	secretKeyLength = 40
)

// loadKey reads the admin key, or makes one and writes it with mode 0600.
func loadKey(path string) (smsapi.Key, error) {
	if path == "" {
		return smsapi.Key{}, fault.Operator("FERRY-KEY-FILE", "name the file of the admin key", errors.New("there is no database file to keep the admin key beside"))
	}
	key, err := ReadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = smsapi.Key{
		AccessKey: "FERRY" + randomText(accessKeyLength-5), SecretKey: randomText(secretKeyLength),
		DomainID: "ferry", ProjectID: "ferry",
	}
	text, err := json.Marshal(key)
	if err != nil {
		return key, fmt.Errorf("encode key: %w", err)
	}
	if err := durable.WriteFile(path, append(text, '\n'), 0o600); err != nil {
		return key, fmt.Errorf("key file: %w", err)
	}
	return key, nil
}

// ReadKey reads a key file: JSON with access_key, secret_key, domain_id and project_id.
func ReadKey(path string) (key smsapi.Key, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return key, fmt.Errorf("key file: %w", err)
	}
	if err := json.Unmarshal(text, &key); err != nil || key.AccessKey == "" || key.SecretKey == "" {
		return smsapi.Key{}, fault.Operator("FERRY-KEY-FILE", "restore it, or remove it to have the controller make a new one",
			fmt.Errorf("key file %s is damaged", path))
	}
	return key, nil
}

// randomText returns n random letters and digits, at least 5 bits each.
func randomText(n int) string {
	text := ""
	for len(text) < n {
		text += rand.Text()
	}
	return text[:n]
}
