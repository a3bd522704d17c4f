package durable

// SyncDir does nothing: NTFS journals names itself, and Windows cannot flush a directory handle.
func SyncDir(string) error { return nil }
