package config

import (
	"bytes"
	"fmt"
	"io/fs"
	"unsafe"

	"github.com/ferry-migrate/ferry/internal/durable"
	"golang.org/x/sys/windows"
)

const defaultState = `C:\ProgramData\Ferry`

// exposed is false: the folder's access list keeps other users of this machine out, DPAPI whoever reads the disk elsewhere.
func exposed(fs.FileInfo) bool { return false }

// protected begins a file that DPAPI encrypted with the key of this machine.
var protected = []byte("FERRY-DPAPI1\n")

// unprotect decrypts text. A file in the clear is replaced by its encrypted form, so that a secret is on disk in the clear only
// until the agent first starts.
func unprotect(path string, text []byte) ([]byte, error) {
	if blob, ok := bytes.CutPrefix(text, protected); ok {
		return dpapi(blob, func(in, out *windows.DataBlob) error {
			return windows.CryptUnprotectData(in, nil, nil, 0, nil, windows.CRYPTPROTECT_UI_FORBIDDEN, out)
		})
	}
	blob, err := dpapi(text, func(in, out *windows.DataBlob) error {
		return windows.CryptProtectData(in, nil, nil, 0, nil, windows.CRYPTPROTECT_UI_FORBIDDEN|windows.CRYPTPROTECT_LOCAL_MACHINE, out)
	})
	if err == nil {
		err = durable.WriteFile(path, append(bytes.Clone(protected), blob...), 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("protect the secret: %w", err)
	}
	return text, nil
}

// dpapi calls do with text and copies what it made.
func dpapi(text []byte, do func(in, out *windows.DataBlob) error) ([]byte, error) {
	if len(text) == 0 {
		return nil, fmt.Errorf("the file is empty")
	}
	in := windows.DataBlob{Size: uint32(len(text)), Data: &text[0]}
	var out windows.DataBlob
	if err := do(&in, &out); err != nil {
		return nil, fmt.Errorf("DPAPI: %w", err)
	}
	defer windows.LocalFree(windows.Handle(unsafe.Pointer(out.Data))) //nolint:errcheck // nothing can be done about it
	return bytes.Clone(unsafe.Slice(out.Data, out.Size)), nil
}
