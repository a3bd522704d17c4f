package probe

import "github.com/ferry-migrate/ferry/collector/inventory"

// probeSwap finds a swap area (linux/include/linux/swap.h, union swap_header). The signature ends the first page, whose size
// is that of the machine which made it.
func probeSwap(m *image) *inventory.Content {
	for page := int64(4 << 10); page <= 64<<10; page *= 2 {
		sig := string(m.at(page-10, 10))
		switch sig {
		case "SWAPSPACE2", "SWAP-SPACE":
		case "S1SUSPEND\x00", "S2SUSPEND\x00", "ULSUSPEND\x00", "\xed\xc3\x02\xe9\x98\x56\xe5\x0c\x00\x00":
		default:
			continue
		}
		c := &inventory.Content{Type: "swap", Class: inventory.ClassSwap, Version: "1", BlockSize: page}
		if h := m.at(1024, 44); h != nil && sig != "SWAP-SPACE" {
			c.UUID, c.Label = uuid(h[12:28]), text(h[28:44])
			c.Size = (int64(le.Uint32(h[4:])) + 1) * page
		}
		if sig[:4] != "SWAP" {
			c.Problems = []string{"holds a hibernated system: start and shut it down before a migration"}
		}
		if sig == "SWAP-SPACE" {
			c.Version = "0"
		}
		return c
	}
	return nil
}
