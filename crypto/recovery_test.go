package crypto

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

func TestRecoveryFormat(t *testing.T) {
	key := NewSecret(sequence(0, 32))
	const want = "AAAQ-EAYE-AUDA-OCAJ-BIFQ-YDIO-B4IB-CEQT-CQKR-MFYY-DENB-WHA5-DYPQ"
	got := FormatRecovery(key)
	if !strings.HasPrefix(got, want+"-") || !regexp.MustCompile(`^([A-Z2-7]{4}-){13}[A-Z2-7]{4}$`).MatchString(got) {
		t.Fatalf("formatted as %s", got)
	}
	for _, s := range []string{
		got,
		strings.ToLower(got),
		strings.ReplaceAll(got, "-", ""),
		strings.ReplaceAll(got, "-", " "),
		" \t" + strings.ReplaceAll(got, "-", " - ") + "\r\n",
		strings.NewReplacer("O", "0", "I", "1", "B", "8").Replace(got),
	} {
		if k, err := ParseRecovery(s); err != nil || !k.Equal(key) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", "-", got[:len(got)-1], got + "A", got[5:], strings.Repeat("A", 56), strings.Repeat("A", 1000),
		strings.Replace(got, "E", "9", 1), strings.Replace(got, "E", "É", 1), strings.Replace(got, "E", "ſ", 1), got + "\x00"} {
		if _, err := ParseRecovery(s); !errors.Is(err, ErrUnlock) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// TestRecoveryTypos makes every single wrong character and every exchange of neighbours.
func TestRecoveryTypos(t *testing.T) {
	key := NewSecret(sequence(7, 32))
	good := FormatRecovery(key)
	for i := range good {
		if good[i] == '-' {
			continue
		}
		for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" {
			bad := good[:i] + string(c) + good[i+1:]
			if _, err := ParseRecovery(bad); bad != good && err == nil {
				t.Errorf("character %d as %c was not noticed", i, c)
			}
		}
		if i+1 < len(good) && good[i+1] != '-' && good[i] != good[i+1] {
			bad := good[:i] + good[i+1:i+2] + good[i:i+1] + good[i+2:]
			if _, err := ParseRecovery(bad); err == nil {
				t.Errorf("characters %d and %d exchanged and not noticed", i, i+1)
			}
		}
	}
}

func TestPassphrase(t *testing.T) {
	words := map[string]bool{}
	for n := range numWords {
		w := string(appendWord(nil, n))
		if !isGenerated([]rune(w)) || len(w) != generatedWord {
			t.Fatalf("word %d is %q", n, w)
		}
		words[w] = true
	}
	if len(words) != numWords || numWords < 2048 {
		t.Fatalf("%d words, %d distinct", numWords, len(words))
	}
	seen := map[string]bool{}
	for range 100 {
		p := Passphrase()
		s := string(p.Bytes())
		parts := strings.Split(s, "-")
		if len(parts) != phraseWords || seen[s] {
			t.Fatalf("passphrase %q", s)
		}
		for _, w := range parts {
			if !words[w] {
				t.Fatalf("word %q", w)
			}
		}
		seen[s] = true
		// Two equal words may fall together and count once.
		if bits := Strength(p); bits < 60 {
			t.Errorf("%q: %.1f bits", s, bits)
		}
		if err := CheckPassphrase(p); err != nil {
			t.Error(err)
		}
	}
	if bits := Strength(phrase("dalte-bonda-misku-zelma-rusto-ganzi")); bits < 66 || bits > 90 {
		t.Errorf("six words: %.1f bits", bits)
	}
}

func TestStrength(t *testing.T) {
	for _, s := range []string{"", "a", "password", "P@ssw0rd!", "Passw0rd2024!", "letmein123", "qwertyuiopasdfghjkl", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"12345678901234567890", "abcdefghijklmnopqrstuvwxyz", "abababababababababab", "passwordpassword", "summer2025", "Monkey-Dragon-Master-1999",
		"correct horse battery staple", "purple kitchen garden bottle", "lantern-window-gravel-ointment", "hello hello hello hello hello hello", "Tr0ub4dor&3", "mississippi", "ñandú", "\xff\xfe", "nul\x00" + testPhrase} {
		if bits := Strength(phrase(s)); bits >= MinBits {
			t.Errorf("%q counts as %.1f bits", s, bits)
		}
		if err := CheckPassphrase(phrase(s)); !errors.Is(err, ErrWeak) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"x7$Kq2!vRzW9", "gT4pLw9ZkQ2xVb", "correct horse battery staple gravel ointment", "lantern horse gravel ointment velvet crumb",
		"Kühlschrank Fahrrad Gewitter Tapete Ameise Lampion", "8f14e45fceea167a5a36dedd4bea2543"} {
		if bits := Strength(phrase(s)); bits < MinBits {
			t.Errorf("%q counts as %.1f bits only", s, bits)
		}
		if err := CheckPassphrase(phrase(s)); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
}
