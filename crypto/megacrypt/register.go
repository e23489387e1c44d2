package megacrypt

import (
	"crypto/rand"
	"crypto/subtle"
)

// An account that has no RSA key yet proves that a session is its own by a challenge that it made itself when it signed up.

// SelfChallengeSize is the length of such a challenge, in bytes: a random half, and that half under the master key.
const SelfChallengeSize = 32

// NewSelfChallenge makes one.
func NewSelfChallenge(master Key) []byte {
	b := make([]byte, 16, SelfChallengeSize)
	rand.Read(b)
	if b[0] == 0 {
		b[0] = 1
	}
	return append(b, master.Wrap(b)...)
}

// ChallengeSession makes the session id of a user without RSA key, who can check it with the master key alone. The server makes it of what it knows: the challenge.
func ChallengeSession(challenge []byte, user string) ([]byte, error) {
	if len(challenge) != SelfChallengeSize || len(user) != handleLen {
		return nil, malformed("challenge")
	}
	s := append([]byte{}, challenge[:handleAt]...)
	return append(append(s, user...), challenge[handleAt:]...), nil
}

// CheckChallengeSession reports whether a session id was made of a challenge under the master key.
func CheckChallengeSession(master Key, session []byte) error {
	if len(session) != SessionSize {
		return ErrLogin
	}
	if subtle.ConstantTimeCompare(master.Wrap(session[:16]), session[SessionSize-16:]) != 1 {
		return ErrLogin
	}
	return nil
}

// NewConfirmation makes what a sign-up of version 1 sends for the confirmation mail: master key and a challenge, under the password key.
func NewConfirmation(password, master Key) string {
	b := make([]byte, 32)
	rand.Read(b[16:])
	copy(b, master[:])
	clear(b[20:28])
	return Encode(password.Wrap(b))
}

// CheckConfirmation reports whether a challenge from a confirmation, still wrapped, was made with this password key.
func CheckConfirmation(password Key, challenge string) error {
	b, err := DecodeExact(challenge, 16)
	if err != nil {
		return err
	}
	if b, err = password.Unwrap(b); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(b[4:12], make([]byte, 8)) != 1 {
		return ErrKey
	}
	return nil
}
