// Package crashfs is a disk for tests that loses what was not synced.
//
// A Disk holds files and directories twice: as the running system sees them, and
// as they are known to be on the platter. Only fsync moves something from the one to
// the other: of a file its bytes and its size, of a directory its names. At each
// fsync the disk can keep a Capture of both. From a Capture an Image is made: what a
// machine that lost its power at that point may find when it starts again, which is
// all that was synced, and of the rest nothing, everything or a part, with pages torn
// at sector borders and names kept up to some change.
//
// Mount shows a Disk as a file system through FUSE, so that a real process can be
// run on it. The model is as strict as POSIX allows: syncing a new file does not
// sync its name, and the changes of two directories are lost independently.
package crashfs

import (
	"os"
	"path"
	"sync"
	"syscall"
)

const (
	pageBytes   = 4096
	sectorBytes = 512
)

// page is never changed once it is in a file: a write replaces it, so that
// captures can share it.
type page = [pageBytes]byte

// content is the bytes of a file; a page that is missing is zeros.
type content struct {
	size  int64
	pages map[int64]*page
}

// change is one step in a directory: names that now stand for other files, or for
// none.
type change map[string]*node

// node is a file or a directory.
type node struct {
	ino    uint64
	dir    bool
	parent *node
	name   string

	// Of a file.
	live, synced content
	dirty        map[int64]bool // pages that differ
	// cut is the smallest size to which the file was cut since the last sync; -1 if it
	// was not. A file system cuts a file as a whole or not at all.
	cut int64

	// Of a directory.
	names, syncedNames map[string]*node
	changes            []change // since the last sync
}

// Disk is a disk with a power switch.
type Disk struct {
	mu    sync.Mutex
	root  *node
	inos  uint64
	notes []string
	syncs []Sync
	keep  bool
	caps  []*Capture
	cutAt int
	off   chan struct{}

	// Ignore makes an fsync of a path pretend to succeed. Set it before Mount.
	Ignore func(path string) bool
}

// Sync is one fsync.
type Sync struct {
	Path string // from the root of the disk, without a leading slash
	Dir  bool
}

// New returns an empty disk that keeps a Capture of each fsync if captures is set.
func New(captures bool) *Disk {
	d := &Disk{keep: captures, cutAt: -1, off: make(chan struct{})}
	d.root = d.node(true)
	return d
}

// CutAt makes the disk lose its power at fsync n, counted from 0: that one and all
// that follows fails.
func (d *Disk) CutAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cutAt = n
}

// Off is closed when the power is gone.
func (d *Disk) Off() <-chan struct{} { return d.off }

// Note adds something that was promised to the outside, such as an acknowledged
// write: what is noted before a Capture must survive in all its images.
func (d *Disk) Note(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notes = append(d.notes, s)
}

// Syncs are the fsyncs so far.
func (d *Disk) Syncs() []Sync {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Sync(nil), d.syncs...)
}

// Captures are the states kept so far, one for each fsync, before its effect.
func (d *Disk) Captures() []*Capture {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]*Capture(nil), d.caps...)
}

func (d *Disk) node(dir bool) *node {
	d.inos++
	n := &node{ino: d.inos, dir: dir, cut: -1}
	if dir {
		n.names, n.syncedNames = map[string]*node{}, map[string]*node{}
	} else {
		n.live.pages, n.synced.pages, n.dirty = map[int64]*page{}, map[int64]*page{}, map[int64]bool{}
	}
	return n
}

func (n *node) path() string {
	if n.parent == nil {
		return ""
	}
	return path.Join(n.parent.path(), n.name)
}

// down reports whether the power is gone.
func (d *Disk) down() bool {
	select {
	case <-d.off:
		return true
	default:
		return false
	}
}

// do runs an operation while the power is on.
func (d *Disk) do(fn func() syscall.Errno) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down() {
		return syscall.EIO
	}
	return fn()
}

func (d *Disk) sync(n *node) syscall.Errno {
	return d.do(func() syscall.Errno {
		s := Sync{Path: n.path(), Dir: n.dir}
		if d.Ignore != nil && d.Ignore(s.Path) {
			return 0
		}
		at := len(d.syncs)
		d.syncs = append(d.syncs, s)
		if d.keep || at == d.cutAt {
			d.caps = append(d.caps, d.capture(s))
		}
		if at == d.cutAt {
			close(d.off)
			return syscall.EIO
		}
		n.sync()
		return 0
	})
}

func (n *node) sync() {
	if n.dir {
		for _, c := range n.changes {
			c.apply(n.syncedNames)
		}
		n.changes = nil
		return
	}
	for i := range n.dirty {
		n.synced.put(i, n.live.pages[i])
	}
	n.synced.size, n.cut = n.live.size, -1
	clear(n.dirty)
}

func (c change) apply(names map[string]*node) {
	for name, n := range c {
		if n == nil {
			delete(names, name)
		} else {
			names[name] = n
		}
	}
}

func (c *content) put(i int64, p *page) {
	if p == nil {
		delete(c.pages, i)
	} else {
		c.pages[i] = p
	}
}

// change makes a step in a directory.
func (n *node) change(c change) {
	c.apply(n.names)
	n.changes = append(n.changes, c)
	for name, child := range c {
		if child != nil {
			child.parent, child.name = n, name
		}
	}
}

func (n *node) write(data []byte, off int64) {
	n.live.size = max(n.live.size, off+int64(len(data)))
	for len(data) > 0 {
		i, at := off/pageBytes, off%pageBytes
		p := new(page)
		if old := n.live.pages[i]; old != nil {
			*p = *old
		}
		written := copy(p[at:], data)
		n.live.pages[i] = p
		n.dirty[i] = true
		data, off = data[written:], off+int64(written)
	}
}

func (c *content) read(dest []byte, off int64) int {
	if off >= c.size {
		return 0
	}
	dest = dest[:min(int64(len(dest)), c.size-off)]
	for done := 0; done < len(dest); {
		at := off + int64(done)
		end := min(len(dest), done+int(pageBytes-at%pageBytes))
		if p := c.pages[at/pageBytes]; p != nil {
			copy(dest[done:end], p[at%pageBytes:])
		} else {
			clear(dest[done:end])
		}
		done = end
	}
	return len(dest)
}

func (n *node) truncate(size int64) {
	if size < n.live.size && (n.cut < 0 || size < n.cut) {
		n.cut = size
	}
	for i := range n.live.pages {
		if i*pageBytes >= size {
			delete(n.live.pages, i)
			n.dirty[i] = true
		}
	}
	if at := size % pageBytes; size < n.live.size && at != 0 && n.live.pages[size/pageBytes] != nil {
		p := *n.live.pages[size/pageBytes]
		clear(p[at:])
		n.live.pages[size/pageBytes] = &p
		n.dirty[size/pageBytes] = true
	}
	n.live.size = size
}

// load copies a directory of the machine onto an empty disk, synced.
func (d *Disk) load(n *node, from string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		child := d.node(entry.IsDir())
		name := path.Join(from, entry.Name())
		if child.dir {
			err = d.load(child, name)
		} else {
			var text []byte
			text, err = os.ReadFile(name)
			child.write(text, 0)
		}
		if err != nil {
			return err
		}
		child.sync()
		n.change(change{entry.Name(): child})
	}
	n.sync()
	return nil
}

// Load returns a disk that holds what is in a directory, all of it synced.
func Load(from string, captures bool) (*Disk, error) {
	d := New(captures)
	return d, d.load(d.root, from)
}
