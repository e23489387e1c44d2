package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Peer is a process that serves a mount.
type Peer struct {
	PID    int // as the kernel says
	folder string
	name   string
}

// Peers returns the processes that answer on sockets in the folders.
func Peers(folders []string) []*Peer {
	var out []*Peer
	for _, path := range folders {
		dir, err := openFolder(path, false)
		if err != nil {
			continue
		}
		for _, name := range dir.sockets() {
			c, err := dir.dial(name)
			if err != nil {
				continue
			}
			if cred, err := peer(c); err == nil {
				out = append(out, &Peer{PID: int(cred.Pid), folder: path, name: name})
			}
			c.Close()
		}
		dir.close()
	}
	return out
}

// Call asks and waits for the answer, which it decodes into result unless that is nil. ctx bounds the wait. Errors that
// the process answered with are *Failure.
func (p *Peer) Call(ctx context.Context, r Request, result any) error {
	dir, err := openFolder(p.folder, false)
	if err != nil {
		return err
	}
	defer dir.close()
	c, err := dir.dial(p.name)
	if err != nil {
		return fmt.Errorf("ask process %d: %w", p.PID, err)
	}
	defer c.Close()
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(line) >= maxRequest {
		return errors.New("the path is too long")
	}
	c.SetWriteDeadline(time.Now().Add(timeout))
	if _, err := c.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("ask process %d: %w", p.PID, err)
	}
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })()
	in := bufio.NewReader(io.LimitReader(c, maxResponse))
	answer, err := in.ReadBytes('\n')
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("process %d did not answer: %w", p.PID, err)
	}
	var resp response
	if err := json.Unmarshal(answer, &resp); err != nil {
		return fmt.Errorf("process %d gave no answer: %w", p.PID, err)
	}
	if resp.Failure != nil {
		return resp.Failure
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(resp.Result, result)
}
