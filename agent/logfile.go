package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

const (
	logName  = "agent.log"
	logSize  = 10 << 20 // bytes of one file
	logFiles = 5        // beside the one that is written
)

// A LogFile is a log that does not outgrow its disk: agent.log, and agent.log.1 to .5 with what was before, the oldest last. It is
// an io.Writer for concurrent use; each Write is one record.
type LogFile struct {
	path string
	max  int64

	mu   sync.Mutex
	file *os.File
	size int64
}

// OpenLogFile goes on with the log in a directory, which it makes if need be. Close it.
func OpenLogFile(dir string) (*LogFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	l := &LogFile{path: filepath.Join(dir, logName), max: logSize}
	return l, l.open()
}

func (l *LogFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("log file: %w", err)
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write writes a record, to a new file if the current one would grow too large.
func (l *LogFile) Write(record []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(record)) > l.max {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(record)
	l.size += int64(n)
	return n, err
}

// rotate makes agent.log the first of the old ones. Where that fails the current file grows on.
func (l *LogFile) rotate() error {
	old := func(n int) string { return fmt.Sprintf("%s.%d", l.path, n) }
	for n := logFiles - 1; n > 0; n-- {
		os.Rename(old(n), old(n+1)) //nolint:errcheck // it need not exist
	}
	l.file.Close()
	os.Rename(l.path, old(1)) //nolint:errcheck // then the file grows on
	return l.open()
}

// Close ends the log.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
