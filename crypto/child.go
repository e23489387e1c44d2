package crypto

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// The unlock process is asked once and answers once, over its standard input and
// output:
//
//	request  "MGU1" | u32 length, keyring | three times u16 length, secret:
//	         passphrase, recovery key, vault secret
//	answer   "MGU1" | u8 code | u16 length, KRK or message
const (
	unlockMagic   = "MGU1"
	unlockTimeout = 120 * time.Second
	maxMessage    = 1024 // bytes, of an answer
)

// unlockCodes are the errors that survive the pipe, by their code - 1. The order
// must not change; 0 is success and 255 any other error.
var unlockCodes = []error{ErrUnlock, ErrKeyringTampered, ErrKDFLimits, ErrUnsupported, ErrFormatDowngrade, ErrLimit, ErrWeak}

const codeOther = 255

// UnlockInChild is [Unlock] in another process, so that neither the passphrase nor the
// memory of its derivation stay in this one. It runs argv, our own executable with the
// arguments that make it call [ServeUnlock] with its standard input and output, with an empty
// environment. The child is killed when ctx ends or after two minutes. The errors are those
// of Unlock, that of ctx, or any other if the child could not be run or died.
func UnlockInChild(ctx context.Context, argv []string, object []byte, c Credential) (krk Secret, err error) {
	if len(argv) == 0 {
		return Secret{}, errors.New("crypto: unlock process: no command")
	}
	request, err := encodeRequest(object, c)
	if err != nil {
		return Secret{}, err
	}
	defer clear(request)
	ctx, cancel := context.WithTimeoutCause(ctx, unlockTimeout, fmt.Errorf("no answer within %v", unlockTimeout))
	defer cancel()

	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{} // not nil, which would inherit ours
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, ctx.Err()); err != nil {
		return Secret{}, fmt.Errorf("crypto: unlock process: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return Secret{}, fmt.Errorf("crypto: unlock process: %w", err)
	}
	// The child's own children, had it any, could keep the pipes open.
	stop := context.AfterFunc(ctx, func() { stdin.Close(); stdout.Close() })
	defer stop()

	_, err = stdin.Write(request)
	stdin.Close()
	krk, answer, readErr := decodeAnswer(stdout)
	if readErr != nil {
		err = errors.Join(err, readErr)
		cmd.Process.Kill() // whatever it is doing, it is not answering
	}
	waitErr := cmd.Wait()
	switch {
	case readErr == nil: // a complete answer counts, however the process ended
		return krk, answer
	case ctx.Err() != nil:
		return Secret{}, fmt.Errorf("crypto: unlock process: %w", context.Cause(ctx))
	default:
		return Secret{}, fmt.Errorf("crypto: unlock process died: %w", errors.Join(waitErr, err))
	}
}

// ServeUnlock is the child's side of [UnlockInChild]: it reads the request from in and
// writes the answer to out. It returns an error only if it could not do so; that the
// vault did not open is an answer. The process should end afterwards. ServeUnlock
// irrevocably disables core files and limits the CPU time of the process.
func ServeUnlock(in io.Reader, out io.Writer) error {
	harden()
	return serveUnlock(in, out)
}

func serveUnlock(in io.Reader, out io.Writer) error {
	object, cred, err := decodeRequest(in)
	if err != nil {
		return fmt.Errorf("crypto: unlock request: %w", err)
	}
	defer cred.wipe()
	krk, err := Unlock(object, cred)
	defer krk.Wipe()
	answer := encodeAnswer(krk, err)
	defer clear(answer)
	if _, err := out.Write(answer); err != nil {
		return fmt.Errorf("crypto: unlock answer: %w", err)
	}
	return nil
}

func (c Credential) wipe() {
	c.Passphrase.Wipe()
	c.Recovery.Wipe()
	c.VaultSecret.Wipe()
}

func encodeRequest(object []byte, c Credential) ([]byte, error) {
	if len(object) > maxKeyring {
		return nil, fmt.Errorf("%w: keyring of %d bytes", ErrLimit, len(object))
	}
	secrets := []Secret{c.Passphrase, c.Recovery, c.VaultSecret}
	size := len(unlockMagic) + 4 + len(object)
	for _, s := range secrets {
		if s.Len() > maxPassphrase {
			return nil, fmt.Errorf("%w: passphrase or key of more than %d bytes", ErrLimit, maxPassphrase)
		}
		size += 2 + s.Len()
	}
	b := make([]byte, 0, size) // enough: growing would leave copies of secrets
	b = append(b, unlockMagic...)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(object))), object...)
	for _, s := range secrets {
		b = append(binary.BigEndian.AppendUint16(b, uint16(s.Len())), s.Bytes()...)
	}
	return b, nil
}

func decodeRequest(in io.Reader) (object []byte, c Credential, err error) {
	var head [8]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, c, err
	}
	size := binary.BigEndian.Uint32(head[4:])
	if string(head[:4]) != unlockMagic || size > maxKeyring {
		return nil, c, errors.New("not a request")
	}
	object = make([]byte, size)
	if _, err := io.ReadFull(in, object); err != nil {
		return nil, c, err
	}
	for _, s := range []*Secret{&c.Passphrase, &c.Recovery, &c.VaultSecret} {
		if _, err := io.ReadFull(in, head[:2]); err != nil {
			return nil, c, err
		}
		size := binary.BigEndian.Uint16(head[:])
		if size > maxPassphrase {
			return nil, c, errors.New("not a request")
		}
		*s = NewSecret(make([]byte, size))
		if _, err := io.ReadFull(in, s.Bytes()); err != nil {
			return nil, c, err
		}
	}
	return object, c, nil
}

func encodeAnswer(krk Secret, err error) []byte {
	code, payload := byte(0), krk.Bytes()
	if err != nil {
		code = codeOther
		for i, e := range unlockCodes {
			if errors.Is(err, e) {
				code = byte(i + 1)
				break
			}
		}
		payload = []byte(err.Error())
		payload = payload[:min(len(payload), maxMessage)]
	}
	b := make([]byte, 0, len(unlockMagic)+3+len(payload))
	b = append(append(b, unlockMagic...), code)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(payload))), payload...)
}

// decodeAnswer returns the KRK or the error that the child answered with; and err if
// there is no valid answer.
func decodeAnswer(r io.Reader) (krk Secret, answer, err error) {
	var head [7]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Secret{}, nil, err
	}
	code, size := head[4], binary.BigEndian.Uint16(head[5:])
	if string(head[:4]) != unlockMagic || size > maxMessage || code == 0 && size != keySize {
		return Secret{}, nil, errors.New("not an answer")
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		return Secret{}, nil, err
	}
	if code == 0 {
		return NewSecret(payload), nil, nil
	}
	e := &childError{msg: string(payload)}
	if int(code) <= len(unlockCodes) {
		e.kind = unlockCodes[code-1]
	}
	return Secret{}, e, nil
}

// childError is an error that the child answered with: its message here, its kind
// found again by the code.
type childError struct {
	msg  string
	kind error
}

func (e *childError) Error() string { return e.msg }
func (e *childError) Unwrap() error { return e.kind }
