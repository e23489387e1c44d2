package megaserver

// account is what does not change with every command.
type account struct {
	User      userID `json:"u"`
	Email     string `json:"m,omitempty"` // empty: an account without confirmed address
	Name      string `json:"n,omitempty"`
	Version   int    `json:"v,omitempty"` // of how the password becomes a key: 1 or 2
	Key       string `json:"k"`           // master key under the password's
	Challenge string `json:"ts,omitempty"`
	AuthHash  []byte `json:"ah,omitempty"` // v1: SHA-256 of uh; v2: its first half
	Salt      []byte `json:"salt,omitempty"`
	Public    string `json:"pubk,omitempty"`
	Private   string `json:"privk,omitempty"`
	Made      int64  `json:"made"`
	Quota     int64  `json:"quota,omitempty"` // 0: the server's default
	Secret    []byte `json:"otp,omitempty"`   // second factor
	Needs2    bool   `json:"otpon,omitempty"`
	LastStep  int64  `json:"otplast,omitempty"` // newest time step whose pin was taken
	Blocked   bool   `json:"blocked,omitempty"`
	Drive     handle `json:"drive"`
	Vault     handle `json:"vault"`
	Rubbish   handle `json:"rubbish"`
}

// usage is what lies under one root.
type usage struct {
	Bytes, Files, Folders, VersionBytes, VersionFiles int64
}

func (u *usage) add(n *node, version bool, sign int64) {
	switch {
	case n.kind == folderNode:
		u.Folders += sign
	case n.kind != fileNode:
	case version:
		u.VersionFiles += sign
		u.VersionBytes += sign * n.size
	default:
		u.Files += sign
		u.Bytes += sign * n.size
	}
}

func (u *usage) sum(o usage, sign int64) {
	u.Bytes += sign * o.Bytes
	u.Files += sign * o.Files
	u.Folders += sign * o.Folders
	u.VersionBytes += sign * o.VersionBytes
	u.VersionFiles += sign * o.VersionFiles
}

// counters is what changes with most commands.
type counters struct {
	Seq     uint64   `json:"q"` // of the newest event
	Low     uint64   `json:"l"` // events up to this one are forgotten
	Tag     uint64   `json:"t"` // of the newest sequence tag
	Pending int64    `json:"p"` // bytes of uploads that no node has yet
	Uploads int      `json:"n"`
	Shares  int      `json:"s"` // folders shared with others
	Roots   [3]usage `json:"r"` // drive, vault, rubbish bin
}

func (c *counters) used() int64 {
	var n int64
	for _, r := range c.Roots {
		n += r.Bytes + r.VersionBytes
	}
	return n
}

// session is a log-in. Its key is the hash of the session id, so the database opens no account.
type session struct {
	User   userID `json:"u"`
	ID     string `json:"id"` // how lists call it
	Made   int64  `json:"made"`
	Used   int64  `json:"used"`
	Agent  string `json:"ua,omitempty"`
	From   string `json:"ip,omitempty"`
	Key    string `json:"sek,omitempty"`
	Device string `json:"si,omitempty"`
}

// signUp waits for its confirmation.
type signUp struct {
	User      userID `json:"u"`
	Version   int    `json:"v"`
	Email     string `json:"m"`
	Name      string `json:"n"`
	Key       string `json:"k"`
	Challenge string `json:"c,omitempty"`
	Salt      []byte `json:"salt,omitempty"`
	Hash      []byte `json:"h,omitempty"`
	Made      int64  `json:"made"`
}

// attribute is a user attribute.
type attribute struct {
	Value   string `json:"v"`
	Version string `json:"n"`
}

// content is a file's bytes, which several nodes may have.
type content struct {
	Size int64 `json:"s"`
	Refs int64 `json:"r"`
}

// upload is content that has no node yet.
type upload struct {
	User   userID `json:"u"`
	Size   int64  `json:"s"`
	Token  string `json:"k"` // as the putting command will name it
	Raw    bool   `json:"b"` // the token is sent as raw bytes
	Made   int64  `json:"made"`
	Stored int64  `json:"d"` // bytes
	Whole  bool   `json:"w"`
	Extra  bool   `json:"x,omitempty"` // there may be bytes in the store that no part names
}

// thumbnail is a file attribute.
type thumbnail struct {
	User userID `json:"u"`
	Blob string `json:"b"`
	Size int64  `json:"s"`
	Refs int64  `json:"r"`
	Made int64  `json:"made"`
}

// outShare is what the owner of a shared folder keeps of it.
type outShare struct {
	Key  string        `json:"ok"`
	Auth string        `json:"ha"`
	With []shareMember `json:"s"`
	Made int64         `json:"ts"`
}

type shareMember struct {
	User  userID `json:"u"` // or export
	Level int    `json:"r"`
	Made  int64  `json:"ts"`
}

// inShare is what one with whom a folder is shared has of it.
type inShare struct {
	Owner userID `json:"o"`
	Level int    `json:"r"`
	Key   string `json:"k"`
	Made  int64  `json:"ts"`
}
