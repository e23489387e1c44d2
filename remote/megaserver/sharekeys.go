package megaserver

import (
	"encoding/json"
)

// keyPart is a node's key under the key of a share, as clients send them.
type keyPart struct {
	share handle
	node  handle // of a node that exists; else index says which of the command's
	index int
	key   string
}

// parseKeys reads a cr element: shares, nodes, and for pairs of them a key.
func (c *call) parseKeys(raw json.RawMessage, elements int) ([]keyPart, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) != nil || len(parts) != 3 {
		return nil, BadArgs
	}
	var shares, nodes []string
	var keys []any
	if json.Unmarshal(parts[0], &shares) != nil || json.Unmarshal(parts[1], &nodes) != nil || json.Unmarshal(parts[2], &keys) != nil || len(keys)%3 != 0 {
		return nil, BadArgs
	}
	var out []keyPart
	for i := 0; i < len(keys); i += 3 {
		si, ok1 := keys[i].(float64)
		ni, ok2 := keys[i+1].(float64)
		key, ok3 := keys[i+2].(string)
		if !ok1 || !ok2 || !ok3 || si < 0 || int(si) >= len(shares) || ni < 0 || len(key) > maxKey || !isB64(key) || !isHandle(shares[int(si)]) {
			return nil, BadArgs
		}
		k := keyPart{share: shares[int(si)], index: -1, key: key}
		switch at := int(ni); {
		case elements > 0 && at < elements: // the list of nodes then names them by what the elements come from
			k.index = at
		case at < len(nodes) && isHandle(nodes[at]):
			k.node = nodes[at]
		default:
			return nil, BadArgs
		}
		out = append(out, k)
	}
	return out, nil
}

// runKeys is k: keys of nodes under the master key, or under those of shares.
func runKeys(c *call, raw []byte) (result, error) {
	var f struct {
		Nodes []string        `json:"nk"`
		Keys  json.RawMessage `json:"cr"`
	}
	if err := args(raw, &f); err != nil {
		return result{}, err
	}
	if len(f.Nodes)%2 != 0 || len(f.Nodes) > 2*maxNodes {
		return result{}, BadArgs
	}
	keys, err := c.shareKeys(f.Keys, c.account.User)
	if err != nil {
		return result{}, err
	}
	var nodes []*node
	for i := 0; i < len(f.Nodes); i += 2 {
		n, err := c.reach(f.Nodes[i], owns)
		if err != nil {
			return result{}, err
		}
		if n.parent == "" || len(f.Nodes[i+1]) > maxKey || !isB64(f.Nodes[i+1]) {
			return result{}, BadArgs
		}
		n.key = f.Nodes[i+1]
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		if err := c.t.putNode(n); err != nil {
			return result{}, err
		}
	}
	return done, c.putKeys(keys)
}

// shareKeys reads a cr element about nodes that exist, all of which must be the owner's.
func (c *call) shareKeys(raw json.RawMessage, owner userID) ([]keyPart, error) {
	keys, err := c.parseKeys(raw, 0)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		n, err := c.reach(k.node, mayWrite)
		if err != nil {
			return nil, err
		}
		if n.owner != owner {
			return nil, NoAccess
		}
	}
	return keys, nil
}

// putKeys stores what shareKeys has checked.
func (c *call) putKeys(keys []keyPart) error {
	for _, k := range keys {
		n, err := c.t.node(k.node)
		if err != nil || n == nil {
			return errNode
		}
		n.setShareKey(k.share, k.key)
		if err := c.t.putNode(n); err != nil {
			return err
		}
	}
	return nil
}
