package crypto

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestMain makes the test binary play the unlock process, well and badly behaved.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || !strings.HasPrefix(os.Args[1], "child-") {
		os.Exit(m.Run())
	}
	if len(os.Environ()) != 0 {
		os.Exit(7) // the environment was not scrubbed
	}
	cheapKDF.Add(1)
	switch os.Args[1] {
	case "child-unlock":
		if err := ServeUnlock(os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
	case "child-hangs":
		io.Copy(io.Discard, os.Stdin)
		syscall.Pause()
	case "child-dies":
		decodeRequest(os.Stdin)
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		syscall.Pause()
	case "child-deaf":
		os.Exit(3)
	case "child-babbles":
		decodeRequest(os.Stdin)
		os.Stdout.WriteString("panic: something else")
	case "child-half":
		decodeRequest(os.Stdin)
		os.Stdout.Write(encodeAnswer(NewSecret(make([]byte, keySize)), nil)[:20])
	case "child-floods":
		for {
			if _, err := os.Stdout.WriteString("MGU1\x00\xff\xff and so on"); err != nil {
				os.Exit(1)
			}
		}
	}
	os.Exit(0)
}

func child(kind string) []string { return []string{os.Args[0], "child-" + kind} }

func phrase(s string) Secret { return NewSecret([]byte(s)) }

const testPhrase = "dorko-lanzi-vepto-fulma-gisko"

// testKeyring creates a keyring at no cost.
func testKeyring(t testing.TB) (object []byte, recovery Secret, r *Keyring) {
	t.Helper()
	CheapKDFForTests(t)
	object, recovery, r, err := CreateKeyring(phrase(testPhrase), "laptop", DefaultKDF)
	if err != nil {
		t.Fatal(err)
	}
	return object, recovery, r
}

// mustUnlock opens a keyring the way a client does.
func mustUnlock(t testing.TB, object []byte, c Credential) *Keyring {
	t.Helper()
	krk, err := Unlock(object, c)
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenKeyring(object, krk)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
