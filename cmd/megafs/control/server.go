package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// The places that requests take.
const (
	maxActive  = 8
	maxWaiting = 64
)

// Handler answers a request with something that JSON can say.
type Handler struct {
	Answer func(ctx context.Context, r Request) (any, error)
	Waits  func(r Request) bool       // it may take longer than a moment
	Fail   func(err error) *Failure   // how an error is told
	Done   func(r Request, err error) // called when the response is out; may be nil
}

// Server answers requests on a socket.
type Server struct {
	h       Handler
	dir     *folder
	l       *net.UnixListener
	stop    context.CancelFunc
	wg      sync.WaitGroup
	active  chan struct{}
	waiting chan struct{}
}

// Listen makes the socket called name in the first of the folders that is fit for it, and answers there until Close.
func Listen(folders []string, name string, h Handler) (*Server, error) {
	var errs []error
	for _, path := range folders {
		dir, err := openFolder(path, true)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s, err := listen(dir, name+suffix, h)
		if err == nil {
			return s, nil
		}
		dir.close()
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// listen makes the socket. Nobody else is on its name: whoever listens there holds the state folder's lock.
func listen(dir *folder, name string, h Handler) (*Server, error) {
	path := dir.path(name)
	os.Remove(path)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	// The folder is closed to others, so nobody can have come in before.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{h: h, dir: dir, l: l, stop: stop, active: make(chan struct{}, maxActive), waiting: make(chan struct{}, maxWaiting)}
	s.wg.Add(1)
	go s.accept(ctx)
	return s, nil
}

// Close stops listening, ends what still waits, and removes the socket.
func (s *Server) Close() {
	s.stop()
	s.l.Close()
	s.wg.Wait()
	s.dir.close()
}

func (s *Server) accept(ctx context.Context) {
	defer s.wg.Done()
	for {
		s.active <- struct{}{}
		c, err := s.l.AcceptUnix()
		if err != nil {
			<-s.active
			if ctx.Err() != nil {
				return
			}
			select { // out of descriptors, most likely
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			s.serve(ctx, c)
		}()
	}
}

// serve answers one connection. It has a place, and gives it back.
func (s *Server) serve(ctx context.Context, c *net.UnixConn) {
	place := s.active
	defer func() { <-place }()
	defer c.Close()
	if _, err := peer(c); err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })()
	c.SetDeadline(time.Now().Add(timeout))
	in := bufio.NewReaderSize(c, maxRequest)
	line, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		s.respond(c, nil, errors.New("request too large"))
		return
	}
	if err != nil {
		return
	}
	r, err := parse(line)
	if err != nil {
		s.respond(c, nil, err)
		return
	}
	if s.h.Waits(r) {
		select {
		case s.waiting <- struct{}{}:
			<-s.active
			place = s.waiting
		default:
			s.respond(c, nil, errors.New("too many commands wait already"))
			return
		}
		c.SetReadDeadline(time.Time{})
		s.wg.Add(1)
		go func() { // whoever asked says nothing more: a read ends when they go away
			defer s.wg.Done()
			io.Copy(io.Discard, io.LimitReader(c, 1))
			cancel()
		}()
		defer c.SetReadDeadline(time.Now())
	}
	result, err := s.h.Answer(ctx, r)
	s.respond(c, result, err)
	if s.h.Done != nil {
		s.h.Done(r, err)
	}
}

func (s *Server) respond(c *net.UnixConn, result any, err error) {
	var resp response
	if err == nil {
		resp.Result, err = json.Marshal(result)
	}
	if err != nil {
		resp = response{Failure: s.h.Fail(err)}
	}
	b, err := json.Marshal(resp)
	if err != nil {
		return
	}
	c.SetWriteDeadline(time.Now().Add(timeout))
	c.Write(append(b, '\n'))
}
