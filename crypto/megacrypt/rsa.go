package megacrypt

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"fmt"
	"math/big"
)

// Limits of RSA keys, in bits of the modulus.
const (
	minModulus = 1024
	maxModulus = 4096
	maxMPI     = maxModulus / 8
	// MaxPrivateKey is the most bytes that a wrapped private key has: four numbers and padding.
	MaxPrivateKey = 4*(2+maxMPI) + BlockSize
)

// ParseMPI takes a number off the front of b: a bit length in two bytes, then the number. Not all clients write the exact bit length, so only its bytes count.
func ParseMPI(b []byte) (n *big.Int, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, malformed("number")
	}
	size := (int(b[0])<<8 + int(b[1]) + 7) / 8
	if b = b[2:]; size > maxMPI || size > len(b) {
		return nil, nil, malformed("number")
	}
	return new(big.Int).SetBytes(b[:size]), b[size:], nil
}

// AppendMPI appends a number, with its length in whole bytes as the official clients write it.
func AppendMPI(b []byte, n *big.Int) []byte {
	raw := n.Bytes()
	bits := len(raw) * 8
	return append(append(b, byte(bits>>8), byte(bits)), raw...)
}

// PublicKey is the public half of an account's RSA key.
type PublicKey struct{ N, E *big.Int }

// ParsePublicKey takes the text form.
func ParsePublicKey(s string) (*PublicKey, error) {
	b, err := Decode(s, 2*(2+maxMPI))
	if err != nil {
		return nil, err
	}
	n, b, err := ParseMPI(b)
	if err != nil {
		return nil, err
	}
	e, _, err := ParseMPI(b)
	if err != nil {
		return nil, err
	}
	if n.BitLen() < minModulus || n.BitLen() > maxModulus || n.Bit(0) == 0 || e.Bit(0) == 0 || e.BitLen() < 2 || e.BitLen() > 32 {
		return nil, malformed("public key")
	}
	return &PublicKey{n, e}, nil
}

// Encode returns the text form.
func (p *PublicKey) Encode() string { return Encode(AppendMPI(AppendMPI(nil, p.N), p.E)) }

// PrivateKey is an account's RSA key.
type PrivateKey struct{ p, q, d, u *big.Int }

// Format implements fmt.Formatter: keys are not printed.
func (*PrivateKey) Format(s fmt.State, _ rune) { s.Write([]byte("[secret]")) }

// Modulus returns the public modulus, which identifies the key.
func (k *PrivateKey) Modulus() []byte { return new(big.Int).Mul(k.p, k.q).Bytes() }

// OpenPrivateKey unwraps a private key and checks that its parts are those of one RSA key. The wrapping authenticates nothing, and whoever gets a client to calculate
// with a key of which a part was exchanged can learn the rest from what it answers. So there is one error for all that may be wrong, and nothing is mended.
func OpenPrivateKey(master Key, s string) (*PrivateKey, error) {
	b, err := Decode(s, MaxPrivateKey)
	if err != nil {
		return nil, ErrLogin
	}
	b, err = master.Unwrap(b)
	if err != nil {
		return nil, ErrLogin
	}
	var n [4]*big.Int
	for i := range n {
		if n[i], b, err = ParseMPI(b); err != nil {
			return nil, ErrLogin
		}
	}
	k := &PrivateKey{n[0], n[1], n[2], n[3]}
	if len(b) >= BlockSize || !k.consistent() {
		return nil, ErrLogin
	}
	return k, nil
}

// consistent reports whether p and q are primes of like size, u is the inverse of p modulo q, and d is the inverse of a small odd exponent.
func (k *PrivateKey) consistent() bool {
	one := big.NewInt(1)
	bits := k.p.BitLen()
	if bits < minModulus/2 || bits > maxModulus/2 || k.q.BitLen() < bits-8 || k.q.BitLen() > bits+8 || k.p.Cmp(k.q) == 0 ||
		k.d.BitLen() < 2*bits-64 || k.d.BitLen() > maxModulus || k.u.Sign() <= 0 || k.u.Cmp(k.q) >= 0 {
		return false
	}
	if !k.p.ProbablyPrime(20) || !k.q.ProbablyPrime(20) {
		return false
	}
	u := new(big.Int).Mul(k.u, k.p)
	if u.Mod(u, k.q).Cmp(one) != 0 {
		return false
	}
	p1, q1 := new(big.Int).Sub(k.p, one), new(big.Int).Sub(k.q, one)
	e, e2 := new(big.Int).ModInverse(k.d, p1), new(big.Int).ModInverse(k.d, q1)
	if e == nil || e2 == nil {
		return false
	}
	// e modulo p-1 and modulo q-1 is the same small odd number.
	return e.Cmp(e2) == 0 && e.BitLen() <= 32 && e.BitLen() >= 2 && e.Bit(0) == 1
}

// Seal wraps a private key.
func (k *PrivateKey) Seal(master Key) string {
	b := AppendMPI(AppendMPI(AppendMPI(AppendMPI(nil, k.p), k.q), k.d), k.u)
	if r := len(b) % BlockSize; r > 0 {
		pad := make([]byte, BlockSize-r)
		rand.Read(pad)
		b = append(b, pad...)
	}
	return Encode(master.Wrap(b))
}

// NewPrivateKey makes an RSA key for an account.
func NewPrivateKey() (*PrivateKey, *PublicKey, error) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	p, q := k.Primes[0], k.Primes[1]
	return &PrivateKey{p, q, k.D, new(big.Int).ModInverse(p, q)}, &PublicKey{k.N, big.NewInt(int64(k.E))}, nil
}

// power calculates c^d modulo p*q, by way of the primes.
func (k *PrivateKey) power(c *big.Int) *big.Int {
	one := big.NewInt(1)
	part := func(p *big.Int) *big.Int {
		e := new(big.Int).Sub(p, one)
		return new(big.Int).Exp(c, e.Mod(k.d, e), p)
	}
	mp, mq := part(k.p), part(k.q)
	h := new(big.Int).Sub(mq, mp)
	h.Mul(h, k.u).Mod(h, k.q)
	return h.Mul(h, k.p).Add(h, mp)
}

// SessionSize is the length of a session id, in bytes.
const SessionSize = 43

// handleAt is where a session id holds its owner.
const handleAt, handleLen = 16, 11

// OpenSession decrypts a session id that the server sealed for an account's RSA key, and checks that it is one of that user's. There is one
// error for all that may be wrong.
func (k *PrivateKey) OpenSession(sealed, user string) ([]byte, error) {
	b, err := Decode(sealed, 2+maxMPI)
	if err != nil {
		return nil, ErrLogin
	}
	c, rest, err := ParseMPI(b)
	if err != nil || len(rest) > BlockSize {
		return nil, ErrLogin
	}
	n := new(big.Int).Mul(k.p, k.q)
	if c.Cmp(n) >= 0 {
		return nil, ErrLogin
	}
	m := k.power(c).Bytes()
	if len(m) < SessionSize || !Owns(m[:SessionSize], user) {
		return nil, ErrLogin
	}
	return m[:SessionSize], nil
}

// OpenKey decrypts the key of a share that was sealed for an account's RSA key: it is what the text begins with. Whoever sealed it chose it, and nothing says
// whether it is right but what it opens.
func (k *PrivateKey) OpenKey(sealed string) (Key, error) {
	b, err := Decode(sealed, 2+maxMPI)
	if err != nil {
		return Key{}, ErrKey
	}
	c, rest, err := ParseMPI(b)
	if err != nil || len(rest) > BlockSize || c.Cmp(new(big.Int).Mul(k.p, k.q)) >= 0 {
		return Key{}, ErrKey
	}
	m := k.power(c)
	size := len(k.p.Bytes()) + len(k.q.Bytes()) - 2 // of what clients seal; a number does not tell zeros that it begins with
	size = max(size, len(m.Bytes()))
	return ParseFolderKey(m.FillBytes(make([]byte, size))[:BlockSize])
}

// Owns reports whether a session id is one of a user's, as far as that shows.
func Owns(session []byte, user string) bool {
	return len(session) == SessionSize && len(user) == handleLen && subtle.ConstantTimeCompare(session[handleAt:handleAt+handleLen], []byte(user)) == 1
}

// NewSession makes a session id for a user.
func NewSession(user string) ([]byte, error) {
	if len(user) != handleLen {
		return nil, malformed("user handle")
	}
	s := make([]byte, SessionSize)
	rand.Read(s)
	if s[0] == 0 {
		s[0] = 1 // what it is sealed in drops leading zeros
	}
	copy(s[handleAt:], user)
	return s, nil
}

// SealSession encrypts a session id for an account's RSA key, filled up with random bytes to one byte less than the modulus has.
func (p *PublicKey) SealSession(session []byte) (string, error) {
	size := len(p.N.Bytes()) - 1
	if len(session) != SessionSize || session[0] == 0 || size < SessionSize {
		return "", malformed("session id")
	}
	m := make([]byte, size)
	rand.Read(m)
	copy(m, session)
	c := new(big.Int).SetBytes(m)
	return Encode(AppendMPI(nil, c.Exp(c, p.E, p.N))), nil
}
