package target

import (
	"container/list"
	"sync"

	"golang.org/x/sys/unix"
)

// maxFiles is how many descriptors of begun files are kept open while nobody uses them.
const maxFiles = 64

// begun is a regular file that OpBegin started and OpEnd has not finished, or one that was opened again in between.
type begun struct {
	path  string
	fd    int
	fresh bool // made by OpBegin with the mode, owner and group below, and nothing else
	perm  uint32
	gid   uint32

	// writing is held around writes. The kernel lets one writer at a time into a file, and spins while it waits.
	writing sync.Mutex

	// Guarded by files.mu.
	users  int
	at     *list.Element // nil once forgotten: the last user closes it
	tooBig bool          // told already
	sparse bool          // told already
}

// files keeps begun files open, a bounded number at a time.
type files struct {
	mu   sync.Mutex
	path map[string]*begun
	open list.List // of *begun, the one used longest ago first
	// refused holds paths whose OpBegin asked for more or was a loss, so that OpEnd does not tell again.
	refused map[string]bool
}

// maxRefused bounds what a hostile source can make us remember. Forgetting costs a second request for the same path.
const maxRefused = 4096

func newFiles() *files { return &files{path: map[string]*begun{}, refused: map[string]bool{}} }

// refuse remembers, or forgets, that the file at path could not be begun, and reports whether it was remembered before.
func (f *files) refuse(path []byte, now bool) (before bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before = f.refused[string(path)]
	switch {
	case !now && before:
		delete(f.refused, string(path))
	case now:
		if len(f.refused) >= maxRefused {
			clear(f.refused)
		}
		f.refused[string(path)] = true
	}
	return before
}

// find returns the open file at path, in use until release, or nil.
func (f *files) find(path []byte) *begun {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.path[string(path)]
	if b != nil {
		b.users++
		f.open.MoveToBack(b.at)
	}
	return b
}

// add takes over b, in use by the caller, in place of whatever had its path. If another goroutine added the same path since
// the caller looked and b is not fresh, that one is returned and b closed.
func (f *files) add(b *begun) *begun {
	f.mu.Lock()
	defer f.mu.Unlock()
	if old := f.path[b.path]; old != nil {
		if !b.fresh {
			unix.Close(b.fd)
			old.users++
			return old
		}
		f.drop(old)
	}
	b.users = 1
	b.at = f.open.PushBack(b)
	f.path[b.path] = b
	for e := f.open.Front(); e != nil && f.open.Len() > maxFiles; {
		next := e.Next()
		if old := e.Value.(*begun); old.users == 0 {
			f.drop(old)
		}
		e = next
	}
	return b
}

// release gives back what find or add returned; done says that the file will not be written any more.
func (f *files) release(b *begun, done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b.users--
	if done && b.at != nil {
		f.drop(b)
	} else if b.at == nil && b.users == 0 {
		unix.Close(b.fd)
	}
}

// forget drops the file at path, because its name goes to something else.
func (f *files) forget(path []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b := f.path[string(path)]; b != nil {
		f.drop(b)
	}
}

// drop takes b out of the table and closes it when nobody uses it. mu is held.
func (f *files) drop(b *begun) {
	f.open.Remove(b.at)
	b.at = nil
	delete(f.path, b.path)
	if b.users == 0 {
		unix.Close(b.fd)
	}
}

// once reports whether flag was not set yet, and sets it.
func (f *files) once(flag *bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := *flag
	*flag = true
	return !was
}

func (f *files) closeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for e := f.open.Front(); e != nil; e = f.open.Front() {
		f.drop(e.Value.(*begun))
	}
}
