package crypto

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const canary = "canary-in-the-coal-mine"

// leaks reports whether text shows the canary in any of the ways that bytes are printed.
func leaks(text string, secret []byte) bool {
	decimal := strings.Trim(fmt.Sprint(secret), "[]")
	goSyntax := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}")
	for _, form := range []string{string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
		base64.StdEncoding.EncodeToString(secret), decimal, strings.ReplaceAll(decimal, " ", ","), goSyntax} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

func TestSecretNeverPrinted(t *testing.T) {
	s := NewSecret([]byte(canary))
	type config struct {
		Name     string
		Password Secret
		hidden   Secret
		pointer  *Secret
		List     []Secret
		Map      map[string]Secret
		Any      any
	}
	c := config{"x", s, s, &s, []Secret{s}, map[string]Secret{"k": s}, s}
	cred := Credential{Passphrase: s, Recovery: s}
	for _, v := range []any{s, &s, c, &c, cred, &cred, []any{s, c}, fmt.Errorf("failed: %v", s), struct{ s Secret }{s}, &struct{ s *Secret }{&s}} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x", "%c", "%p", "%T", "%08.3v"} {
			if got := fmt.Sprintf(format, v); leaks(got, []byte(canary)) {
				t.Errorf("%s of %T prints %s", format, v, got)
			}
		}
		if got, err := json.Marshal(v); err != nil || leaks(string(got), []byte(canary)) {
			t.Errorf("JSON of %T: %s, %v", v, got, err)
		}
		var out bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("message", "v", v, slog.Group("g", "s", s))
		}
		if leaks(out.String(), []byte(canary)) {
			t.Errorf("log of %T: %s", v, out.String())
		}
	}
	for _, got := range []string{fmt.Sprint(s), fmt.Sprintf("%#v", s), fmt.Sprintf("%x", s), s.String(), s.GoString(), s.LogValue().String()} {
		if got != redacted {
			t.Errorf("prints %q", got)
		}
	}
	if got, err := json.Marshal(s); string(got) != `"`+redacted+`"` || err != nil {
		t.Errorf("JSON %s, %v", got, err)
	}
	if got, err := xml.Marshal(s); leaks(string(got), []byte(canary)) || err != nil {
		t.Errorf("XML %s, %v", got, err)
	}
}

func TestKeyringNeverPrinted(t *testing.T) {
	_, _, r := testKeyring(t)
	k := r.Keys()
	for _, v := range []any{r, *r, k, *k, struct{ r *Keyring }{r}, struct{ K *Keys }{k}} {
		for _, format := range []string{"%v", "%+v", "%#v", "%x", "%s"} {
			got := fmt.Sprintf(format, v)
			for what, secret := range map[string][]byte{"KRK": r.krk.Bytes(), "VMK": r.epochs[0].vmk.Bytes(),
				"PRK": k.first().prk[:], "class key": k.first().class[ClassContent][:]} {
				if leaks(got, secret) {
					t.Errorf("%s of %T prints the %s", format, v, what)
				}
			}
		}
	}
}

func TestSecretOwnership(t *testing.T) {
	b := []byte(canary)
	s := NewSecret(b)
	same, clone := s, s.Clone()
	if !s.Equal(clone) || s.Equal(Secret{}) || s.Equal(NewSecret([]byte("canary"))) || !(Secret{}).Equal(Secret{}) {
		t.Error("Equal is wrong")
	}
	s.Wipe()
	if bytes.Trim(b, "\x00") != nil || s.Len() != 0 || same.Len() != 0 {
		t.Error("Wipe left something")
	}
	if string(clone.Bytes()) != canary {
		t.Error("Wipe reached a clone")
	}
	s.Wipe()
	Secret{}.Wipe()
}
