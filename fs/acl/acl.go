package acl

import (
	"encoding/binary"
	"errors"
	"slices"
)

// The extended attributes that carry lists.
const (
	Access  = "system.posix_acl_access"
	Default = "system.posix_acl_default" // of a directory: what is made in it gets this one
)

// Is reports whether an extended attribute is a list.
func Is(name string) bool { return name == Access || name == Default }

// Tag says whom an entry is about. Entries stand in the order of these numbers, which are those of the binary form.
type Tag uint16

// The tags.
const (
	UserObj  Tag = 1 << iota // the owner
	User                     // the user with this ID
	GroupObj                 // the owning group
	Group                    // the group with this ID
	Mask                     // the most that User, GroupObj and Group can give
	Other                    // everybody else
)

// Entry says what somebody may do.
type Entry struct {
	Tag  Tag
	Perm uint16 // read 4, write 2, execute 1
	ID   uint32 // of a User or Group
}

// List is an access control list that is valid; Parse makes one.
type List []Entry

// ErrInvalid says that bytes are no valid list.
var ErrInvalid = errors.New("not a valid access control list")

// The binary form: a version, then entries of tag, permissions and ID, all little-endian.
const (
	version   = 2
	headSize  = 4
	entrySize = 8
	noID      = 1<<32 - 1 // in entries that need none

	// MaxSize is the most bytes of a list: the kernel reads them into one page, and the next machine's pages may be small.
	MaxSize = 4096
)

// Parse takes the binary form apart. A list is valid if it has each of UserObj, GroupObj and Other once, at most one Mask, and one if
// there is a User or Group; if no two entries are about the same User or Group; and if the tags are in order.
func Parse(b []byte) (List, error) {
	if len(b) < headSize || len(b) > MaxSize || (len(b)-headSize)%entrySize != 0 || binary.LittleEndian.Uint32(b) != version {
		return nil, ErrInvalid
	}
	l := make(List, 0, (len(b)-headSize)/entrySize)
	var last, all Tag
	named := map[Entry]bool{}
	for b = b[headSize:]; len(b) > 0; b = b[entrySize:] {
		e := Entry{Tag(binary.LittleEndian.Uint16(b)), binary.LittleEndian.Uint16(b[2:]), binary.LittleEndian.Uint32(b[4:])}
		if e.Perm > 7 || e.Tag < last {
			return nil, ErrInvalid
		}
		switch e.Tag {
		case User, Group:
			who := Entry{Tag: e.Tag, ID: e.ID}
			if e.ID == noID || named[who] {
				return nil, ErrInvalid
			}
			named[who] = true
		case UserObj, GroupObj, Mask, Other:
			if e.Tag == last {
				return nil, ErrInvalid
			}
			e.ID = 0
		default:
			return nil, ErrInvalid
		}
		l, last, all = append(l, e), e.Tag, all|e.Tag
	}
	const needed = UserObj | GroupObj | Other
	if all&needed != needed || all&(User|Group) != 0 && all&Mask == 0 {
		return nil, ErrInvalid
	}
	return l, nil
}

// Bytes returns the binary form.
func (l List) Bytes() []byte {
	b := make([]byte, 0, headSize+entrySize*len(l))
	b = binary.LittleEndian.AppendUint32(b, version)
	for _, e := range l {
		if e.Tag&(User|Group) == 0 {
			e.ID = noID
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(e.Tag))
		b = binary.LittleEndian.AppendUint16(b, e.Perm)
		b = binary.LittleEndian.AppendUint32(b, e.ID)
	}
	return b
}

// shift returns where in a mode an entry's permissions are. The group's bits of a mode are the mask's, if there is one: so programs
// that know modes alone never think that somebody may do less than he may.
func (l List) shift(t Tag) (bits int, ok bool) {
	switch t {
	case UserObj:
		return 6, true
	case GroupObj:
		return 3, !l.Extended()
	case Mask:
		return 3, true
	case Other:
		return 0, true
	}
	return 0, false
}

// Extended reports whether the list says more than a mode can.
func (l List) Extended() bool { return len(l) > 3 }

// Mode returns the nine bits of a mode that stand for the list.
func (l List) Mode() (mode uint16) {
	for _, e := range l {
		if s, ok := l.shift(e.Tag); ok {
			mode |= e.Perm << s
		}
	}
	return mode
}

// WithMode returns the list after a chmod.
func (l List) WithMode(mode uint16) List {
	l = slices.Clone(l)
	for i, e := range l {
		if s, ok := l.shift(e.Tag); ok {
			l[i].Perm = mode >> s & 7
		}
	}
	return l
}

// Inherit returns the list and the mode of what a program makes with a mode in a directory that has l as its default.
func (l List) Inherit(mode uint16) (List, uint16) {
	mode &= l.Mode() | ^uint16(0o777)
	return l.WithMode(mode), mode
}
