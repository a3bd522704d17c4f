package dcsapi

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Masked stands for a password in answers.
const Masked = "******"

// maxDB is the highest number of a database.
const maxDB = 255

// Instance is one side of a migration, in requests and answers. An answer shows no password.
type Instance struct {
	ID           string `json:"id,omitempty"`
	Addrs        string `json:"addrs,omitempty" rule:"max=1024"` // HOST:PORT, several with commas, or a URL
	Name         string `json:"name,omitempty"`
	IP           string `json:"ip,omitempty"`
	Port         string `json:"port,omitempty"`
	Password     string `json:"password,omitempty"`
	ProxyMultiDB bool   `json:"proxy_multi_db"`
	WithProxy    bool   `json:"withProxy,omitempty"` // sic
	DB           string `json:"db,omitempty"`        // 0 to 255; empty: all
	TaskStatus   string `json:"task_status,omitempty"`
}

// Address returns where the instance is: HOST:PORT, several with commas, or a URL; empty if the instance does not say.
func (i Instance) Address() string {
	switch {
	case i.Addrs != "":
		return i.Addrs
	case i.IP != "" && i.Port != "":
		return net.JoinHostPort(i.IP, i.Port)
	case isAddress(i.ID):
		return i.ID
	}
	return ""
}

// isAddress reports whether text is HOST:PORT.
func isAddress(text string) bool {
	host, port, err := net.SplitHostPort(text)
	n, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && bad == nil && host != "" && n > 0
}

// Check returns an error that names the field if the instance cannot be reached as it says.
func (i Instance) Check(field string) error {
	address := i.Address()
	if address == "" {
		return fmt.Errorf("%s.addrs: required, for no instance is known by its id here", field)
	}
	if !strings.Contains(address, "://") {
		for one := range strings.SplitSeq(address, ",") {
			if !isAddress(one) {
				return fmt.Errorf("%s.addrs: not HOST:PORT", field)
			}
		}
	} else if strings.Contains(address, "@") {
		return fmt.Errorf("%s.addrs: a password belongs into the field password", field)
	}
	if _, err := i.Database(); err != nil {
		return fmt.Errorf("%s.db: %w", field, err)
	}
	return nil
}

// Database returns the number of the database that is named, -1 if none is.
func (i Instance) Database() (int, error) {
	if i.DB == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(i.DB)
	if err != nil || n < 0 || n > maxDB {
		return -1, errors.New("not a number from 0 to 255")
	}
	return n, nil
}

// Shown returns the instance as answers show it: every field that follows from another, and no password.
func (i Instance) Shown() Instance {
	if i.Addrs == "" {
		i.Addrs = i.Address()
	}
	if host, port, err := net.SplitHostPort(i.Addrs); err == nil && i.IP == "" && i.Port == "" && isAddress(i.Addrs) {
		i.IP, i.Port = host, port
	}
	if i.Password != "" {
		i.Password = Masked
	}
	return i
}

// mibps is what bandwidth_limit_mb counts, in bytes a second, and its range.
const (
	mibps        = 1 << 20
	maxBandwidth = 10240
)

// Bandwidth returns the limit that bandwidth_limit_mb says, in bytes a second; 0 is none.
func Bandwidth(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > maxBandwidth {
		return 0, errors.New("bandwidth_limit_mb: not a number from 1 to 10240")
	}
	return n * mibps, nil
}
