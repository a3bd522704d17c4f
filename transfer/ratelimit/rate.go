package ratelimit

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/ferry-migrate/ferry/internal/fault"
)

const (
	// minRate is the slowest limit that can be kept evenly; 0 is none.
	minRate = 1 << 10
	maxRate = 1 << 50
)

// units in bytes per second. Bits are decimal, as links are sold; bytes are binary, as files are counted.
var units = []struct {
	suffix string
	bytes  float64
}{
	{"kbit", 1e3 / 8}, {"mbit", 1e6 / 8}, {"gbit", 1e9 / 8}, {"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30},
}

// ParseRate reads a rate such as 200Mbit, 1.5Gbit or 25MiB (a second), in bytes per second; 0 is no limit. Case does not matter.
// Anything else is the operator error FERRY-LIMIT-SYNTAX.
func ParseRate(text string) (int64, error) {
	rate, err := parseRate(strings.ToLower(strings.TrimSpace(text)))
	if err != nil {
		return 0, syntax(text, err)
	}
	return rate, nil
}

func syntax(text string, err error) error {
	return fault.Operator("FERRY-LIMIT-SYNTAX",
		`Write a rate such as 200Mbit or 25MiB, 0 for none, or windows such as "08:00-18:00=100Mbit,18:00-08:00=0".`,
		fmt.Errorf("limit %q: %w", text, err))
}

func parseRate(text string) (int64, error) {
	if text == "" {
		return 0, errors.New("nothing there")
	}
	if text == "0" {
		return 0, nil
	}
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		if strings.Trim(number, "0123456789.") != "" { // ParseFloat knows 1e3, 0x10, inf and more
			return 0, fmt.Errorf("%q is no number", number)
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is no number", number)
		}
		rate := math.Round(n * u.bytes)
		switch {
		case rate == 0 && n == 0:
			return 0, nil
		case rate < minRate:
			return 0, errors.New("less than 1 KiB/s")
		case rate > maxRate:
			return 0, errors.New("more than any link carries; 0 is no limit")
		}
		return int64(rate), nil
	}
	return 0, errors.New("no unit: one of kbit, Mbit, Gbit, KiB, MiB, GiB")
}
