package allocmap

import (
	"errors"
	"fmt"
)

// swapSignature returns the signature that ends the first page, and the size of a page: that of the machine which made it.
func swapSignature(v *volume) (sig string, page int64) {
	for page := int64(4 << 10); page <= 64<<10; page *= 2 {
		b, err := v.read(page-10, 10)
		if err != nil {
			return "", 0
		}
		switch string(b) {
		case "SWAPSPACE2", "SWAP-SPACE", "S1SUSPEND\x00", "S2SUSPEND\x00", "ULSUSPEND\x00", "\xed\xc3\x02\xe9\x98\x56\xe5\x0c\x00\x00":
			return string(b), page
		}
	}
	return "", 0
}

func isSwap(v *volume) bool { _, page := swapSignature(v); return page > 0 }

// scanSwap keeps the header of a swap area (linux/include/linux/swap.h, union swap_header): what was swapped out means nothing
// to the machine that starts next, unless the whole system was.
func scanSwap(v *volume) error {
	sig, page := swapSignature(v)
	if sig != "SWAPSPACE2" {
		return errors.New("it holds a hibernated system, or is of an old kind")
	}
	b, err := v.read(1024, 8)
	if err != nil {
		return err
	}
	if version := le.Uint32(b); version != 1 {
		return fmt.Errorf("version %d is not known", version)
	}
	end := (int64(le.Uint32(b[4:])) + 1) * page
	if end > v.size {
		return fmt.Errorf("the swap area has %d bytes, the volume %d", end, v.size)
	}
	v.use(0, page)
	v.tail(end)
	return nil
}
