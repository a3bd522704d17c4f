package configure

import "context"

// lvmDevices takes away the list of devices that LVM may use (lvmdevices(8)): it names disks by the serial numbers of the old machine,
// and LVM would see none of the new ones. Without a list it looks at all.
func lvmDevices(_ context.Context, s *system) error {
	for _, name := range s.glob("/etc/lvm/devices/*.devices") {
		if err := s.remove(name, "lists the disks of the old machine"); err != nil {
			return err
		}
	}
	return nil
}
