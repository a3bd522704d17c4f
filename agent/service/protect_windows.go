package service

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// private gives a directory and all below to the system and the administrators, and keeps out what is inherited from above: anybody
// may make a directory in %ProgramData% before us (SDDL, [MS-DTYP] 2.5.1).
const private = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"

// Protect keeps all but the system and administrators out of a directory.
func Protect(dir string) error {
	sd, err := windows.SecurityDescriptorFromString(private)
	if err != nil {
		return fmt.Errorf("protect %s: %w", dir, err)
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return fmt.Errorf("protect %s: %w", dir, err)
	}
	list, _, err := sd.DACL()
	if err != nil {
		return fmt.Errorf("protect %s: %w", dir, err)
	}
	what := windows.SECURITY_INFORMATION(windows.OWNER_SECURITY_INFORMATION | windows.DACL_SECURITY_INFORMATION | windows.PROTECTED_DACL_SECURITY_INFORMATION)
	if err := windows.SetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT, what, owner, nil, list, nil); err != nil {
		return fmt.Errorf("protect %s: %w", dir, err)
	}
	return nil
}
