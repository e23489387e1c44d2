package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"megafs/fs/acl"
)

// name is a path that may have any bytes; as JSON it is quoted as Go would.
type name string

func (n name) MarshalText() ([]byte, error) {
	q := strconv.QuoteToASCII(string(n))
	return []byte(q[1 : len(q)-1]), nil
}

func (n *name) UnmarshalText(b []byte) error {
	s, err := strconv.Unquote(`"` + string(b) + `"`)
	*n = name(s)
	return err
}

// op is one thing to do. What it does follows from its fields alone, so that a list of them can be done again, and without some of them.
type op struct {
	Do   string `json:"do"`
	A    name   `json:"a,omitempty"`
	B    name   `json:"b,omitempty"`
	FD   int    `json:"fd,omitempty"` // a slot for descriptors
	FD2  int    `json:"fd2,omitempty"`
	Off  int64  `json:"off,omitempty"`
	Off2 int64  `json:"off2,omitempty"`
	N    int    `json:"n,omitempty"`
	Flag int    `json:"flag,omitempty"`
	Mode uint32 `json:"mode,omitempty"`
	Mask int    `json:"mask,omitempty"` // umask
	UID  int    `json:"uid,omitempty"`  // who does it
	Fill uint64 `json:"fill,omitempty"` // what is written
}

func (o op) String() string {
	b, err := json.Marshal(o)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// fill is n bytes that follow from a number.
func fill(n int, from uint64) []byte {
	b := make([]byte, n)
	for i := range b {
		from = from*6364136223846793005 + 1442695040888963407
		b[i] = byte(from >> 56)
	}
	return b
}

const slots = 8

// The odd ones among names; the last is too long.
var oddNames = []string{"x\ny", "\xff\xfe", " ", "-rf", "...", "é\u0301", `back\slash`, "*?[", strings.Repeat("n", 255), strings.Repeat("\xf0\x9f\x90\x98", 63), strings.Repeat("t", 256)}

func randomName(r *rand.Rand) name {
	var parts []string
	if r.IntN(15) == 0 {
		parts = append(parts, fmt.Sprintf("@%d", r.IntN(slots))) // as seen from an open directory, which may be gone
	}
	for n := 0; r.IntN(2) == 0 && n < 2; n++ {
		parts = append(parts, string(rune('a'+r.IntN(3))))
		if r.IntN(60) == 0 {
			parts = append(parts, []string{".", ".."}[r.IntN(2)])
		}
	}
	last := string(rune('a' + r.IntN(8)))
	switch r.IntN(40) {
	case 0:
		last += "/"
	case 1:
		last = []string{".", "..", ""}[r.IntN(3)]
	case 2, 3, 4:
		last = oddNames[r.IntN(len(oddNames))]
	}
	return name(strings.Join(append(parts, last), "/"))
}

// randomTarget is what a symbolic link says. None climbs higher than one level, so that all stay in their own tree.
func randomTarget(r *rand.Rand) name {
	switch r.IntN(20) {
	case 0:
		return name("../" + string(rune('a'+r.IntN(3))))
	case 1:
		return name(strings.Repeat("./", 2040) + strings.Repeat("l", 14+r.IntN(3))) // 4094 to 4096 bytes
	case 2:
		return []name{".", "", "nowhere/at/all", "a/", "\xff\n"}[r.IntN(5)]
	}
	n := randomName(r)
	if strings.HasPrefix(string(n), "@") || strings.Contains(string(n), "..") {
		return "a"
	}
	return n
}

var openFlags = []int{unix.O_CREAT, unix.O_CREAT, unix.O_EXCL, unix.O_TRUNC, unix.O_APPEND, unix.O_NOFOLLOW, unix.O_DIRECTORY}

// kinds are all that can be done, as often as their numbers say.
var kinds = map[string]int{
	"open": 14, "opendir": 2, "tmpfile": 2, "close": 3, "setfl": 1,
	"pwrite": 8, "write": 6, "pread": 6, "read": 3, "lseek": 3, "seekdata": 2, "seekhole": 2, "writev": 1,
	"ftruncate": 4, "truncate": 4, "fallocate": 6, "copy": 5, "sendfile": 1,
	"mapwrite": 4, "mapread": 3, "mapkeep": 1,
	"fsync": 1, "fdatasync": 1, "forget": 2,
	"rename": 9, "link": 4, "linkfd": 3, "symlink": 4, "unlink": 6, "rmdir": 4, "mkdir": 8, "mknod": 3,
	"chmod": 4, "fchmod": 2, "chown": 4, "fchown": 2, "utimes": 4, "futimes": 1,
	"setxattr": 4, "fsetxattr": 1, "xattrs": 2, "removexattr": 2, "setacl": 4, "removeacl": 1,
	"list": 3, "change": 2, "stat": 5, "fstat": 2, "readlink": 2, "access": 2,
}

var allKinds = func() (all []string) {
	for k, n := range kinds {
		for range n {
			all = append(all, k)
		}
	}
	slices.Sort(all)
	return all
}()

// A mount is disturbed once in so many operations: what was sent and what was not, what the kernel knows and what it must ask for, all differ afterwards.
const syncEvery, mountEvery = 6000, 5000

func randomOp(r *rand.Rand) op {
	switch {
	case r.IntN(syncEvery) == 0:
		return op{Do: "sync"}
	case r.IntN(mountEvery) == 0:
		return op{Do: waysToRemount[r.IntN(len(waysToRemount))]}
	}
	o := op{
		Do: allKinds[r.IntN(len(allKinds))], A: randomName(r), B: randomName(r), FD: r.IntN(slots), FD2: r.IntN(slots),
		Off: r.Int64N(200_000), Off2: r.Int64N(200_000), N: r.IntN(70_000), Mode: uint32(r.IntN(0o10000)), Mask: r.IntN(0o100), Fill: r.Uint64(), Flag: r.IntN(64),
	}
	if r.IntN(3) == 0 {
		o.Off, o.Off2, o.N = o.Off%5000, o.Off2%5000, o.N%5000
	}
	if r.IntN(4) == 0 { // whole pages
		o.Off, o.Off2, o.N = o.Off&^4095, o.Off2&^4095, o.N&^4095
	}
	if r.IntN(100) == 0 {
		o.Off += 8 << 20
	}
	if r.IntN(3) > 0 {
		o.Mode |= 0o700 // so that much is allowed
	}
	if r.IntN(3) > 0 {
		o.Mask = 0o022
	}
	if r.IntN(4) == 0 {
		o.UID = stranger
	}
	switch o.Do {
	case "open":
		o.Flag = []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, unix.O_RDWR}[r.IntN(4)]
		for _, f := range openFlags {
			if r.IntN(4) == 0 {
				o.Flag |= f
			}
		}
		if r.IntN(2) == 0 {
			o.Flag = o.Flag&^(unix.O_EXCL|unix.O_DIRECTORY) | unix.O_CREAT
		}
	case "tmpfile":
		o.Flag = []int{0, 0, unix.O_EXCL}[r.IntN(3)]
	case "rename":
		o.Flag = []int{0, 0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE, unix.RENAME_EXCHANGE, unix.RENAME_WHITEOUT, unix.RENAME_EXCHANGE | unix.RENAME_NOREPLACE, 64}[r.IntN(10)]
	case "symlink":
		o.A = randomTarget(r)
	case "fallocate":
		o.Flag = []int{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE,
			unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_UNSHARE_RANGE, 0x80}[r.IntN(9)]
	case "chown", "fchown":
		o.Off, o.Off2 = []int64{-1, 0, stranger, 7}[r.IntN(4)], []int64{-1, 0, stranger, 7}[r.IntN(4)]
		if o.UID != 0 && o.Off == -1 {
			o.Off = stranger // the kernel does not ask a FUSE file system whether a change of nothing is allowed that takes setgid away
		}
	case "utimes", "futimes":
		o.Off, o.Off2 = r.Int64N(4_000_000_000), r.Int64N(1_000_000_000)
	case "setxattr", "fsetxattr", "removexattr":
		o.B, o.N = []name{"user.a", "user.b", "user.\xff", "trusted.a", "security.x", "other.a", "user.", "user", name("user." + strings.Repeat("n", 250)), name("user." + strings.Repeat("n", 251))}[r.IntN(10)], o.N%200
		if o.UID != 0 {
			o.B = "user.b" // a stranger in this process keeps the capability that trusted. asks for
		}
	case "xattrs":
		o.UID = 0
	case "setacl", "removeacl":
		o.UID *= o.Flag & 1
	}
	if !slices.Contains([]string{"rename", "link", "linkfd", "symlink", "setxattr", "fsetxattr", "removexattr"}, o.Do) {
		o.B = "" // means nothing
	}
	return o
}

// randomACL is an access control list that follows from a number; a few are not valid.
func randomACL(from uint64) (attr string, value []byte) {
	r := rand.New(rand.NewPCG(from, 2))
	attr = []string{acl.Access, acl.Default}[r.IntN(2)]
	perm := func() uint16 { return uint16(r.IntN(8)) }
	l := acl.List{{Tag: acl.UserObj, Perm: perm() | 6}}
	named := r.IntN(3)
	for i := range named {
		l = append(l, acl.Entry{Tag: acl.User, Perm: perm(), ID: uint32(stranger + i)})
	}
	l = append(l, acl.Entry{Tag: acl.GroupObj, Perm: perm()})
	if named > 0 && r.IntN(8) > 0 || r.IntN(5) == 0 {
		l = append(l, acl.Entry{Tag: acl.Mask, Perm: perm()})
	}
	return attr, append(l, acl.Entry{Tag: acl.Other, Perm: perm()}).Bytes()
}

// parseOps reads what a failed test printed.
func parseOps(t *testing.T, text string) (list []op) {
	t.Helper()
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "{") {
			continue
		}
		var o op
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		list = append(list, o)
	}
	return list
}
