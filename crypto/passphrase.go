package crypto

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// Generated words have five letters: onset, vowel, cluster, vowel. The parts are
// chosen so that a word is spelled as it sounds, in most languages, and means little
// in any.
const (
	onsets        = "bdfghjklmnprstvz"
	vowels        = "aeiou"
	clusters      = "ltndsklmstnzlknsrmlvrllfrblprgmn" // two letters each
	numWords      = len(onsets) * len(vowels) * (len(clusters) / 2) * len(vowels)
	phraseWords   = 6
	generatedWord = 5 // letters
)

// Passphrase generates a passphrase of six made-up words, joined by dashes: one of 6400^6,
// which is 75 bits.
func Passphrase() Secret {
	b := make([]byte, 0, phraseWords*(generatedWord+1))
	for i := range phraseWords {
		if i > 0 {
			b = append(b, '-')
		}
		b = appendWord(b, randomBelow(numWords))
	}
	return NewSecret(b)
}

// appendWord appends generated word number n.
func appendWord(b []byte, n int) []byte {
	v2 := n % len(vowels)
	n /= len(vowels)
	c := n % (len(clusters) / 2)
	n /= len(clusters) / 2
	v1 := n % len(vowels)
	o := n / len(vowels)
	return append(b, onsets[o], vowels[v1], clusters[2*c], clusters[2*c+1], vowels[v2])
}

// isGenerated reports whether word is one that appendWord makes.
func isGenerated(word []rune) bool {
	if len(word) != generatedWord {
		return false
	}
	if !strings.ContainsRune(onsets, word[0]) || !strings.ContainsRune(vowels, word[1]) || !strings.ContainsRune(vowels, word[4]) {
		return false
	}
	for i := 0; i < len(clusters); i += 2 {
		if rune(clusters[i]) == word[2] && rune(clusters[i+1]) == word[3] {
			return true
		}
	}
	return false
}

// randomBelow returns a uniform number below n, by drawing again what would favour
// the small ones.
func randomBelow(n int) int {
	var b [4]byte
	limit := math.MaxUint32 - math.MaxUint32%uint32(n)
	for {
		rand.Read(b[:])
		if v := binary.BigEndian.Uint32(b[:]); v < limit {
			return int(v % uint32(n))
		}
	}
}

// CheckPassphrase fails with ErrWeak if the passphrase is estimated to be below MinBits or
// cannot be one at all, and with ErrLimit if it is too long.
func CheckPassphrase(pass Secret) error {
	b, err := normalise(pass)
	if err != nil {
		return err
	}
	clear(b)
	if bits := Strength(pass); bits < MinBits {
		return fmt.Errorf("%w: it may be guessed in about 2^%.0f tries; use six or more unrelated words", ErrWeak, bits)
	}
	return nil
}
