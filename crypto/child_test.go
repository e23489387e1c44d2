package crypto

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestUnlockInChild(t *testing.T) {
	object, recovery, r := testKeyring(t)
	sk := NewVaultSecret()
	withSecret, _, err := r.RepassWithSecret(phrase(testPhrase), sk, DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	bomb := bytes.Clone(object)
	bomb[keyringClear+2+50] = 0xff
	future := bytes.Clone(object)
	future[5] = 2
	ancient := bytes.Clone(object)
	ancient[5] = 0
	slotIs := func(object []byte) []byte { return object[:keyringClear+10] }
	for _, v := range []struct {
		what   string
		object []byte
		cred   Credential
		want   error
	}{
		{"passphrase", object, Credential{Passphrase: phrase(testPhrase)}, nil},
		{"recovery key", object, Credential{Recovery: recovery}, nil},
		{"vault secret", withSecret, Credential{Passphrase: phrase(testPhrase), VaultSecret: sk}, nil},
		{"wrong passphrase", object, Credential{Passphrase: phrase("wrong")}, ErrUnlock},
		{"wrong recovery key", object, Credential{Recovery: NewSecret(make([]byte, 32))}, ErrUnlock},
		{"nothing", object, Credential{}, ErrUnlock},
		{"cut off", slotIs(object), Credential{Recovery: recovery}, ErrKeyringTampered},
		{"bomb", bomb, Credential{Passphrase: phrase(testPhrase)}, ErrKDFLimits},
		{"future", future, Credential{Recovery: recovery}, ErrUnsupported},
		{"ancient", ancient, Credential{Recovery: recovery}, ErrFormatDowngrade},
		{"too long", make([]byte, maxKeyring+1), Credential{Recovery: recovery}, ErrLimit},
		{"long passphrase", object, Credential{Passphrase: NewSecret(make([]byte, 2000))}, ErrLimit},
	} {
		recovery := v.cred.Recovery.Len()
		krk, err := UnlockInChild(context.Background(), child("unlock"), v.object, v.cred)
		if !errors.Is(err, v.want) || (err == nil) != krk.Equal(r.KRK()) {
			t.Errorf("%s: %v", v.what, err)
		}
		if v.cred.Recovery.Len() != recovery {
			t.Errorf("%s: the caller's credential was wiped", v.what)
		}
		// The child says exactly what this process would.
		if _, here := Unlock(v.object, v.cred); err != nil && v.want != ErrLimit && err.Error() != here.Error() {
			t.Errorf("%s: child says %q, Unlock says %q", v.what, err, here)
		}
	}
}

func TestUnlockInBadChild(t *testing.T) {
	object, recovery, _ := testKeyring(t)
	cred := Credential{Recovery: recovery}
	for _, kind := range []string{"dies", "deaf", "babbles", "half", "floods"} {
		krk, err := UnlockInChild(context.Background(), child(kind), object, cred)
		if err == nil || krk.Len() != 0 || errors.Is(err, ErrUnlock) || errors.Is(err, ErrKeyringTampered) {
			t.Errorf("child %s: %v", kind, err)
		}
	}
	for _, argv := range [][]string{nil, {"/nonexistent/program"}} {
		if _, err := UnlockInChild(context.Background(), argv, object, cred); err == nil {
			t.Errorf("%q ran", argv)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := UnlockInChild(ctx, child("hangs"), object, cred); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("child hangs: %v", err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	if _, err := UnlockInChild(ctx, child("unlock"), object, cred); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A grandchild keeps the pipes open until the test ends: the end of ctx must be the
// end of the wait all the same.
func TestUnlockInChildOfShell(t *testing.T) {
	object, recovery, _ := testKeyring(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	defer func() { // let cat read to the end; nobody has it open if it never ran
		if f, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := UnlockInChild(ctx, []string{"/bin/sh", "-c", `/bin/cat "$0"; exit 0`, fifo}, object, Credential{Recovery: recovery})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("grandchild: %v", err)
	}
}

func TestUnlockMessages(t *testing.T) {
	object, recovery, r := testKeyring(t)
	request, err := encodeRequest(object, Credential{Recovery: recovery})
	if err != nil {
		t.Fatal(err)
	}
	for i := range request {
		if err := serveUnlock(bytes.NewReader(request[:i]), io.Discard); err == nil {
			t.Errorf("answered to %d bytes of a request", i)
		}
	}
	var out bytes.Buffer
	if err := serveUnlock(bytes.NewReader(request), &out); err != nil {
		t.Fatal(err)
	}
	answer := out.Bytes()
	for i := range answer {
		if _, _, err := decodeAnswer(bytes.NewReader(answer[:i])); err == nil {
			t.Errorf("%d bytes of an answer were enough", i)
		}
	}
	krk, said, err := decodeAnswer(bytes.NewReader(answer))
	if err != nil || said != nil || !krk.Equal(r.KRK()) {
		t.Errorf("%v, %v", said, err)
	}
	huge := append([]byte(unlockMagic), 0xff, 0xff, 0xff, 0xff)
	if err := serveUnlock(bytes.NewReader(huge), io.Discard); err == nil {
		t.Error("request of 4 GiB accepted")
	}
}
