package crashfs

import (
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// Capture is a disk at the moment of an fsync, before that has any effect.
type Capture struct {
	Sync
	// Notes are what had been noted.
	Notes []string
	root  *node
}

// Capture returns the disk as it is now.
func (d *Disk) Capture() *Capture {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.capture(Sync{})
}

func (d *Disk) capture(s Sync) *Capture {
	return &Capture{Sync: s, Notes: slices.Clone(d.notes), root: freeze(d.root, map[*node]*node{})}
}

// freeze copies what can be reached from n, in what is live or synced.
func freeze(n *node, seen map[*node]*node) *node {
	if n == nil {
		return nil
	}
	if known := seen[n]; known != nil {
		return known
	}
	c := &node{ino: n.ino, dir: n.dir, name: n.name, cut: n.cut}
	seen[n] = c
	if !n.dir {
		c.live = content{size: n.live.size, pages: maps.Clone(n.live.pages)}
		c.synced = content{size: n.synced.size, pages: maps.Clone(n.synced.pages)}
		c.dirty = maps.Clone(n.dirty)
		return c
	}
	c.syncedNames = map[string]*node{}
	for name, child := range n.syncedNames {
		c.syncedNames[name] = freeze(child, seen)
	}
	for _, step := range n.changes {
		frozen := change{}
		for name, child := range step {
			frozen[name] = freeze(child, seen)
		}
		c.changes = append(c.changes, frozen)
	}
	return c
}

// Survival decides what is left of that which was not synced.
type Survival struct {
	// Rand decides for each page and each directory; without it nothing is left.
	Rand *rand.Rand
	// All keeps everything, as after the end of a process alone.
	All bool
}

// Extract writes the image of a capture into an empty directory.
func (c *Capture) Extract(to string, left Survival) error { return extract(c.root, to, left) }

func extract(n *node, to string, left Survival) error {
	names := maps.Clone(n.syncedNames)
	for _, step := range n.changes[:left.count(len(n.changes))] {
		step.apply(names)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		child, path := names[name], filepath.Join(to, name)
		if !child.dir {
			if err := left.content(child).store(path); err != nil {
				return err
			}
			continue
		}
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		if err := extract(child, path, left); err != nil {
			return err
		}
	}
	return nil
}

// count is how many of n changes are left.
func (s Survival) count(n int) int {
	switch {
	case s.All:
		return n
	case s.Rand != nil:
		return s.Rand.IntN(n + 1)
	}
	return 0
}

// content is what is left of a file.
func (s Survival) content(n *node) *content {
	switch {
	case s.All:
		return &n.live
	case s.Rand == nil:
		return &n.synced
	}
	if n.cut >= 0 && s.Rand.IntN(2) == 0 {
		return &n.synced // it was not cut, nor what followed done
	}
	c := &content{size: n.synced.size, pages: maps.Clone(n.synced.pages)}
	if n.cut >= 0 {
		c.size = min(c.size, n.cut)
		maps.DeleteFunc(c.pages, func(i int64, _ *page) bool { return i*pageBytes >= n.cut })
	}
	if s.Rand.IntN(2) == 0 {
		c.size = n.live.size
	}
	for _, i := range slices.Sorted(maps.Keys(n.dirty)) {
		switch s.Rand.IntN(3) {
		case 0: // the old page
		case 1:
			c.put(i, n.live.pages[i])
		case 2:
			c.put(i, torn(c.pages[i], n.live.pages[i], s.Rand.IntN(pageBytes/sectorBytes)))
		}
	}
	return c
}

// torn is the first sectors of the new page, and the rest of the old.
func torn(before, after *page, sectors int) *page {
	p := new(page)
	if before != nil {
		*p = *before
	}
	if after == nil {
		clear(p[:sectors*sectorBytes])
	} else {
		copy(p[:sectors*sectorBytes], after[:])
	}
	return p
}

func (c *content) store(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for i, p := range c.pages {
		if n := min(c.size-i*pageBytes, pageBytes); n > 0 && err == nil {
			_, err = f.WriteAt(p[:n], i*pageBytes)
		}
	}
	return errors.Join(err, f.Truncate(c.size), f.Close())
}
