package crypto

import (
	"math"
	"slices"
	"strings"
	"unicode"
)

// MinBits is the strength below which a passphrase should be refused.
const MinBits = 50

// Strength estimates how many bits a guesser who knows how people choose passphrases
// has to guess. It counts words as words, common ones and sequences as next to nothing, and
// rather errs low. It is a heuristic: only generated passphrases have a known strength.
func Strength(pass Secret) (bits float64) {
	text, err := normalise(pass)
	if err != nil {
		return 0
	}
	defer clear(text)
	runes := make([]rune, 0, len(text))
	for _, r := range string(text) {
		runes = append(runes, r)
	}
	defer clear(runes)
	plain := make([]rune, len(runes))
	defer clear(plain)
	for i, r := range runes {
		plain[i] = unleet(r)
	}
	return min(runsBits(runes), runsBits(plain))
}

// unleet undoes the substitutions by which people make words look random.
func unleet(r rune) rune {
	if i := strings.IndexRune("@013457$!", r); i >= 0 {
		return rune("aoleastsi"[i])
	}
	return r
}

type runeKind int

const (
	kindOther runeKind = iota
	kindLetter
	kindDigit
)

func kindOf(r rune) runeKind {
	switch {
	case unicode.IsLetter(r) || unicode.IsMark(r):
		return kindLetter
	case unicode.IsDigit(r):
		return kindDigit
	}
	return kindOther
}

// runsBits cuts the passphrase into runs of letters, of digits, and of others, and adds
// up their estimates; a run that was there before adds only one bit.
func runsBits(runes []rune) (bits float64) {
	var seen [][]rune
	for len(runes) > 0 {
		n := 1
		for n < len(runes) && kindOf(runes[n]) == kindOf(runes[0]) {
			n++
		}
		run := slices.Clone(runes[:n])
		kind := kindOf(runes[0])
		for i, r := range run {
			run[i] = unicode.ToLower(r)
		}
		switch {
		case slices.ContainsFunc(seen, func(s []rune) bool { return slices.Equal(s, run) }):
			if kind != kindOther { // a separator that comes again adds nothing
				bits++
			}
		case kind == kindLetter:
			bits += lettersBits(runes[:n], run)
		case kind == kindDigit:
			bits += digitsBits(run)
		case len(run) == 1 && strings.ContainsRune(" -_.", run[0]):
			bits++ // what one puts between words
		default:
			bits += charsBits(run, 5)
		}
		seen = append(seen, run)
		runes = runes[n:]
	}
	return bits
}

// lettersBits estimates a run of letters, given as it is and in lower case.
func lettersBits(run, lower []rune) float64 {
	if isGenerated(lower) {
		return math.Log2(float64(numWords))
	}
	if slices.Contains(commonWords, string(lower)) {
		return 5
	}
	mixed := false // capitals other than the first letter or all letters
	for i := 2; i < len(run); i++ {
		mixed = mixed || unicode.IsUpper(run[i]) != unicode.IsUpper(run[1])
	}
	mixed = mixed || len(run) > 1 && unicode.IsUpper(run[1]) && !unicode.IsUpper(run[0])
	if mixed {
		return charsBits(lower, 5.7)
	}
	bits := charsBits(lower, 4.7)
	if wordlike(lower) {
		bits = min(bits, 8+0.6*float64(len(lower)))
	}
	if unicode.IsUpper(run[0]) {
		bits++
	}
	return bits
}

// wordlike reports whether the letters could be of a word: vowels in between and
// no more than four consonants on end. Other scripts than Latin are taken for words.
func wordlike(lower []rune) bool {
	consonants := 0
	anyVowel := false
	for _, r := range lower {
		if r > 0x7f || strings.ContainsRune("aeiouy", r) {
			consonants, anyVowel = 0, true
		} else if consonants++; consonants > 4 {
			return false
		}
	}
	return anyVowel && len(lower) >= 3
}

func digitsBits(run []rune) float64 {
	if len(run) == 4 && (run[0] == '1' && run[1] == '9' || run[0] == '2' && run[1] == '0') {
		return 7 // a year
	}
	return charsBits(run, 3.3)
}

// charsBits counts each character as perChar bits, and next to nothing if it follows
// from the ones before: a repetition, a step in the alphabet or on the keyboard.
func charsBits(run []rune, perChar float64) (bits float64) {
	for i, r := range run {
		if i > 0 && (abs(r-run[i-1]) <= 1 || neighbours(run[i-1], r)) || i > 1 && r == run[i-2] {
			bits += 0.5
		} else {
			bits += perChar
		}
	}
	return bits
}

func abs(r rune) rune { return max(r, -r) }

const keyboard = "qwertyuiop asdfghjkl zxcvbnm"

func neighbours(a, b rune) bool {
	i, j := strings.IndexRune(keyboard, a), strings.IndexRune(keyboard, b)
	return a != ' ' && b != ' ' && i >= 0 && j >= 0 && (i-j == 1 || j-i == 1)
}

// commonWords are those that passphrases are made of most.
var commonWords = strings.Fields(`
	password passwort passw pass word secret login admin root user guest test letmein welcome hello
	master dragon monkey shadow sunshine princess football baseball superman batman love iloveyou
	money qwerty qwertz azerty asdf abc abcd vault mega megafs key keys open changeme default access
	server backup january february march april may june july august september october november
	december spring summer autumn winter monday friday the and my is you`)
