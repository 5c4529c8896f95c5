package crashfs

import (
	"context"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mount shows the disk at a directory until the returned function is called.
//
// What runs on it must be another process than this one: SQLite and bbolt map files
// into memory, and a goroutine that waits for a page cannot be stopped by a
// garbage collector that the file system needs.
func (d *Disk) Mount(at string) (unmount func() error, err error) {
	timeout := time.Minute // nothing changes but through the kernel
	server, err := fs.Mount(at, &inode{disk: d, node: d.root}, &fs.Options{
		EntryTimeout: &timeout, AttrTimeout: &timeout, NullPermissions: true,
		MountOptions: fuse.MountOptions{FsName: "crashfs", Name: "crashfs", DirectMountStrict: true, MaxBackground: 64},
	})
	if err != nil {
		return nil, err
	}
	return server.Unmount, nil
}

// inode is a node as go-fuse sees it.
type inode struct {
	fs.Inode
	disk *Disk
	node *node
}

var (
	_ fs.NodeLookuper  = (*inode)(nil)
	_ fs.NodeGetattrer = (*inode)(nil)
	_ fs.NodeSetattrer = (*inode)(nil)
	_ fs.NodeCreater   = (*inode)(nil)
	_ fs.NodeMkdirer   = (*inode)(nil)
	_ fs.NodeUnlinker  = (*inode)(nil)
	_ fs.NodeRmdirer   = (*inode)(nil)
	_ fs.NodeRenamer   = (*inode)(nil)
	_ fs.NodeReaddirer = (*inode)(nil)
	_ fs.NodeOpener    = (*inode)(nil)
	_ fs.NodeReader    = (*inode)(nil)
	_ fs.NodeWriter    = (*inode)(nil)
	_ fs.NodeAllocater = (*inode)(nil)
	_ fs.NodeFsyncer   = (*inode)(nil)
	_ fs.NodeStatfser  = (*inode)(nil)
)

func (n *node) attr(out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink = n.ino, n.mode()|0o600, 1
	if n.dir {
		out.Mode |= 0o100
	}
	out.Size, out.Blksize = uint64(n.live.size), pageBytes
	out.Blocks = (out.Size + sectorBytes - 1) / sectorBytes
}

func (n *node) mode() uint32 {
	if n.dir {
		return syscall.S_IFDIR
	}
	return syscall.S_IFREG
}

// known returns go-fuse's node for a child.
func (i *inode) known(ctx context.Context, child *node, out *fuse.EntryOut) *fs.Inode {
	child.attr(&out.Attr)
	return i.NewInode(ctx, &inode{disk: i.disk, node: child}, fs.StableAttr{Mode: child.mode(), Ino: child.ino})
}

func (i *inode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (found *fs.Inode, errno syscall.Errno) {
	errno = i.disk.do(func() syscall.Errno {
		child := i.node.names[name]
		if child == nil {
			return syscall.ENOENT
		}
		found = i.known(ctx, child, out)
		return 0
	})
	return found, errno
}

func (i *inode) add(ctx context.Context, name string, dir bool, out *fuse.EntryOut) (made *fs.Inode, errno syscall.Errno) {
	errno = i.disk.do(func() syscall.Errno {
		if i.node.names[name] != nil {
			return syscall.EEXIST
		}
		child := i.disk.node(dir)
		i.node.change(change{name: child})
		made = i.known(ctx, child, out)
		return 0
	})
	return made, errno
}

func (i *inode) Create(ctx context.Context, name string, _, _ uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	made, errno := i.add(ctx, name, false, out)
	return made, nil, 0, errno
}

func (i *inode) Mkdir(ctx context.Context, name string, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return i.add(ctx, name, true, out)
}

func (i *inode) Unlink(_ context.Context, name string) syscall.Errno {
	return i.disk.do(func() syscall.Errno {
		i.node.change(change{name: nil})
		return 0
	})
}

func (i *inode) Rmdir(ctx context.Context, name string) syscall.Errno {
	i.disk.mu.Lock()
	full := i.node.names[name] != nil && len(i.node.names[name].names) > 0
	i.disk.mu.Unlock()
	if full {
		return syscall.ENOTEMPTY
	}
	return i.Unlink(ctx, name)
}

func (i *inode) Rename(_ context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags != 0 {
		return syscall.EINVAL
	}
	to := parent.(*inode).node
	return i.disk.do(func() syscall.Errno {
		child := i.node.names[name]
		if to == i.node {
			to.change(change{name: nil, newName: child})
			return 0
		}
		i.node.change(change{name: nil})
		to.change(change{newName: child})
		return 0
	})
}

func (i *inode) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	var list []fuse.DirEntry
	errno := i.disk.do(func() syscall.Errno {
		for name, child := range i.node.names {
			list = append(list, fuse.DirEntry{Name: name, Mode: child.mode(), Ino: child.ino})
		}
		return 0
	})
	return fs.NewListDirStream(list), errno
}

func (i *inode) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, i.disk.do(func() syscall.Errno { return 0 })
}

func (i *inode) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n := 0
	errno := i.disk.do(func() syscall.Errno {
		n = i.node.live.read(dest, off)
		return 0
	})
	return fuse.ReadResultData(dest[:n]), errno
}

func (i *inode) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	return uint32(len(data)), i.disk.do(func() syscall.Errno {
		i.node.write(data, off)
		return 0
	})
}

// Allocate makes room, as zeros; the file grows unless mode says otherwise.
func (i *inode) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	if mode != 0 {
		return syscall.ENOTSUP
	}
	return i.disk.do(func() syscall.Errno {
		i.node.live.size = max(i.node.live.size, int64(off+size))
		return 0
	})
}

func (i *inode) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return i.disk.sync(i.node)
}

func (i *inode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return i.disk.do(func() syscall.Errno {
		i.node.attr(&out.Attr)
		return 0
	})
}

func (i *inode) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return i.disk.do(func() syscall.Errno {
		if size, ok := in.GetSize(); ok {
			i.node.truncate(int64(size))
		}
		i.node.attr(&out.Attr)
		return 0
	})
}

func (i *inode) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.NameLen = pageBytes, 255
	out.Blocks, out.Bfree, out.Bavail = 1<<24, 1<<24, 1<<24
	return 0
}
