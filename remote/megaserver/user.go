package megaserver

import (
	"encoding/json"
	"sort"
	"strconv"
	"strings"
)

const (
	maxAttributes = 500
	maxAttribute  = 64 << 10 // characters
	maxBigOne     = 16 << 20
	maxBigOnes    = 8
)

// isAttribute reports whether a user attribute can be called so: a prefix that says who may read it, then a word.
func isAttribute(name string) bool {
	if len(name) < 2 || len(name) > 64 || !strings.Contains("+#^*%", name[:1]) {
		return false
	}
	for i := 1; i < len(name); i++ {
		if c := name[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func isBig(name string) bool { return len(name) > 1 && (name[1] == '!' || name[1] == '~') }

func attributeFits(name, value string) bool {
	if isBig(name) {
		return len(value) <= maxBigOne
	}
	return len(value) <= maxAttribute
}

// setAttribute stores a user attribute and returns its new version.
func (c *call) setAttribute(name, value string) (string, error) {
	n, big := 0, 0
	var old attribute
	had, err := c.t.load(attributeKey(c.account.User, name), &old)
	if err != nil {
		return "", err
	}
	if !had {
		err := c.t.scan(attributeKey(c.account.User, ""), nil, false, func(rest, _ []byte) error {
			if n++; isBig(string(rest)) {
				big++
			}
			return nil
		})
		if err != nil {
			return "", err
		}
		if n >= maxAttributes || isBig(name) && big >= maxBigOnes*8 {
			return "", TooMany
		}
	}
	v := attribute{Value: value, Version: b64.EncodeToString(random(8))}
	if err := c.t.store(attributeKey(c.account.User, name), v); err != nil {
		return "", err
	}
	return v.Version, c.attributeEvent(name, v.Version)
}

func (c *call) attributeEvent(name, version string) error {
	h, err := c.head("ua")
	if err != nil {
		return err
	}
	return c.t.event([]userID{c.account.User}, h, []byte(`"u":"`+c.account.User+`","ua":[`+quote(name)+`],"v":["`+version+`"]`))
}

// runAttributesPut is upv and up2: each attribute with the version that it replaces, or without.
func runAttributesPut(c *call, raw []byte) (result, error) {
	var f map[string]json.RawMessage
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	type change struct{ name, value string }
	var changes []change
	for name, v := range f {
		if name == "a" || name == "i" {
			continue
		}
		if !isAttribute(name) {
			return result{}, BadArgs
		}
		var pair []any
		var value, version string
		if json.Unmarshal(v, &pair) == nil && len(pair) > 0 && len(pair) <= 2 {
			var ok bool
			if value, ok = pair[0].(string); !ok {
				return result{}, BadArgs
			}
			if len(pair) == 2 {
				version, _ = pair[1].(string)
			}
		} else if json.Unmarshal(v, &value) != nil {
			return result{}, BadArgs
		}
		if !attributeFits(name, value) {
			return result{}, BadArgs
		}
		if version != "" && c.name == "upv" {
			var old attribute
			if _, err := c.t.load(attributeKey(c.account.User, name), &old); err != nil {
				return result{}, err
			}
			if old.Version != version {
				return result{}, Expired
			}
		}
		changes = append(changes, change{name, value})
	}
	if len(changes) == 0 {
		return result{}, BadArgs
	}
	sort.Slice(changes, func(i, j int) bool { return changes[i].name < changes[j].name })
	out := "{"
	for i, x := range changes {
		version, err := c.setAttribute(x.name, x.value)
		if err != nil {
			return result{}, err
		}
		if i > 0 {
			out += ","
		}
		out += quote(x.name) + `:"` + version + `"`
	}
	return text(out + "}")
}

// runAttributeGet is uga.
func runAttributeGet(c *call, raw []byte) (result, error) {
	var f struct {
		User string `json:"u"`
		Name string `json:"ua"`
		V    any    `json:"v"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	user := f.User
	if strings.Contains(user, "@") {
		a, err := c.t.byEmail(strings.ToLower(user))
		if err != nil {
			return result{}, err
		}
		if a == nil {
			return result{}, NoEntry
		}
		user = a.User
	}
	if !isUser(user) || !isAttribute(f.Name) {
		return result{}, NoEntry
	}
	if f.Name[0] != '+' && (c.account == nil || c.account.User != user) {
		return result{}, NoAccess
	}
	var v attribute
	ok, err := c.t.load(attributeKey(user, f.Name), &v)
	if err != nil {
		return result{}, err
	}
	if !ok {
		return result{}, NoEntry
	}
	if f.V == nil {
		return text(quote(v.Value))
	}
	return text(`{"av":` + quote(v.Value) + `,"v":"` + v.Version + `"}`)
}

// runAttributeRemove is upr.
func runAttributeRemove(c *call, raw []byte) (result, error) {
	var f struct {
		Name string `json:"ua"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	key := attributeKey(c.account.User, f.Name)
	v, err := c.t.value(key)
	if err != nil {
		return result{}, err
	}
	if v == nil || !isAttribute(f.Name) {
		return result{}, NoEntry
	}
	if err := c.t.remove(key); err != nil {
		return result{}, err
	}
	return done, c.attributeEvent(f.Name, "")
}

const flags = `{"ach":1,"mfae":1,"ssrs":0,"nlfe":0}`

// runUser is ug: all about the account that asks.
func runUser(c *call, _ []byte) (result, error) {
	a := c.account
	b := []byte(`{"u":"` + a.User + `","s":1`)
	if a.Email != "" {
		b = append(b, `,"email":`+quote(a.Email)...)
	}
	b = append(b, `,"name":`+quote(a.Name)...)
	confirmed := 0
	if a.Email != "" {
		confirmed = 1
	}
	b = append(b, `,"k":"`+a.Key+`","c":`+strconv.Itoa(confirmed)...)
	if a.Public != "" {
		b = append(b, `,"pubk":"`+a.Public+`"`...)
	}
	if a.Private != "" {
		b = append(b, `,"privk":"`+a.Private+`"`...)
	}
	if a.Challenge != "" {
		b = append(b, `,"ts":"`+a.Challenge+`"`...)
	}
	b = append(b, `,"since":`+strconv.FormatInt(a.Made, 10)...)
	if a.Version != 0 {
		b = append(b, `,"aav":`+strconv.Itoa(a.Version)...)
	}
	if a.Salt != nil {
		b = append(b, `,"aas":"`+b64.EncodeToString(a.Salt)+`"`...)
	}
	err := c.t.scan(attributeKey(a.User, ""), nil, true, func(rest, v []byte) error {
		if len(b) > maxBody {
			return nil
		}
		var x attribute
		if err := json.Unmarshal(v, &x); err != nil {
			return err
		}
		b = append(b, ","+quote(string(rest))+`:{"av":`+quote(x.Value)+`,"v":"`+x.Version+`"}`...)
		return nil
	})
	return result{text: string(b) + `,"flags":` + flags + "}"}, err
}

// runFlags is gmf.
func runFlags(*call, []byte) (result, error) { return text(flags) }

// quota is how many bytes an account may have.
func (s *Server) quota(a *account) int64 {
	if a.Email == "" {
		return s.opts.Anonymous
	}
	if a.Quota > 0 {
		return a.Quota
	}
	return s.opts.Quota
}

// runQuota is uq.
func runQuota(c *call, _ []byte) (result, error) {
	n, err := c.t.counters(c.account.User)
	if err != nil {
		return result{}, err
	}
	used, max := n.used(), c.s.quota(c.account)
	b := []byte(`{"cstrg":` + strconv.FormatInt(used, 10) + `,"cstrgn":{`)
	for i, h := range []handle{c.account.Drive, c.account.Vault, c.account.Rubbish} {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `"`+h+`":[`...)
		r := n.Roots[i]
		for k, v := range []int64{r.Bytes, r.Files, r.Folders, r.VersionBytes, r.VersionFiles} {
			if k > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, v, 10)
		}
		b = append(b, ']')
	}
	state := 0
	if used >= max {
		state = 2
	} else if float64(used) > 0.9*float64(max) {
		state = 1
	}
	return text(string(b) + `},"mstrg":` + strconv.FormatInt(max, 10) + `,"uslw":9000,"usl":` + strconv.Itoa(state) +
		`,"utype":0,"caxfer":0,"csxfer":0,"mxfer":0,"srvratio":0,"bt":0,"tah":[0,0,0,0,0,0],"tar":0,"rua":0,"ruo":0,"rtt":1,"balance":[]}`)
}

// runQuotaFits is qbq: whether a transfer of that many bytes would fit.
func runQuotaFits(c *call, raw []byte) (result, error) {
	var f struct {
		Size int64 `json:"s"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	if err := c.fits(f.Size); err != nil {
		return text("2")
	}
	return text("0")
}

// fits refuses what would pass the account's quota.
func (c *call) fits(size int64) error {
	n, err := c.t.counters(c.account.User)
	if err != nil {
		return err
	}
	if size < 0 {
		return BadArgs
	}
	if max := c.s.quota(c.account); size > max || n.used() > max-size {
		return OverQuota
	}
	return nil
}

// runPublicKey is uk: another account's public key.
func runPublicKey(c *call, raw []byte) (result, error) {
	var f struct {
		User string `json:"u"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	a, err := c.t.who(f.User)
	if err != nil {
		return result{}, err
	}
	if a == nil || a.Public == "" {
		return result{}, NoEntry
	}
	return text(`{"u":"` + a.User + `","pubk":"` + a.Public + `"}`)
}

// who finds an account by handle or address.
func (t *tx) who(s string) (*account, error) {
	if isUser(s) {
		return t.account(s)
	}
	email, err := cleanEmail(s)
	if err != nil {
		return nil, nil
	}
	return t.byEmail(email)
}

// runUpgrade is avu: the account's password becomes a key by version 2 from now on.
func runUpgrade(c *call, raw []byte) (result, error) {
	var f struct {
		Key    string `json:"emk"`
		Hash   string `json:"hak"`
		Random string `json:"crv"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	key, err1 := unb64(f.Key)
	hak, err2 := unb64(f.Hash)
	crv, err3 := unb64(f.Random)
	if err1 != nil || err2 != nil || err3 != nil || len(key) != 16 || len(hak) != 16 || len(crv) != 16 {
		return result{}, BadArgs
	}
	a := *c.account
	if a.Version != 1 {
		return result{}, Exists
	}
	a.Version, a.Key, a.AuthHash, a.Salt = 2, f.Key, hak, saltOf(crv)
	c.account = &a
	return done, c.t.putAccount(&a)
}
