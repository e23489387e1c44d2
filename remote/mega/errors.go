package mega

import (
	"errors"
	"fmt"

	"megafs/remote"
)

// Code is a number by which the API says what went wrong.
type Code int

// The codes that matter here.
const (
	codeInternal  Code = -1
	codeAgain     Code = -3
	codeRate      Code = -4
	codeFailed    Code = -5
	codeTooMany   Code = -6
	codeRange     Code = -7
	codeExpired   Code = -8
	codeNoEntry   Code = -9
	codeCircle    Code = -10
	codeAccess    Code = -11
	codeExists    Code = -12
	codeUnconf    Code = -13
	codeKey       Code = -14
	codeSession   Code = -15
	codeBlocked   Code = -16
	codeOverQuota Code = -17
	codeAway      Code = -18
	codeCrowded   Code = -19
	codeGoingOver Code = -24
	codeRolled    Code = -25
	codeSecond    Code = -26
	codeMaster    Code = -27
	codePastDue   Code = -28
	codePaywall   Code = -29
)

var codes = map[Code]struct {
	kind remote.Kind
	text string
}{
	codeInternal:  {remote.Unreachable, "the server failed"},
	codeAgain:     {remote.Unreachable, "the server is busy"},
	codeRate:      {remote.Unreachable, "the server asks for fewer requests"},
	codeFailed:    {remote.Unreachable, "the server could not do it"},
	codeTooMany:   {remote.Unreachable, "too many requests at a time"},
	codeRange:     {remote.Invalid, "out of range"},
	codeExpired:   {remote.Stale, "what the request refers to has expired"},
	codeNoEntry:   {remote.NotExist, "there is no such thing on the server"},
	codeCircle:    {remote.Invalid, "a folder can't be moved into itself"},
	codeAccess:    {remote.Permission, "the account may not do that"},
	codeExists:    {remote.Exist, "it is there already"},
	codeUnconf:    {remote.Locked, "the account was not confirmed yet"},
	codeKey:       {remote.Integrity, "the server finds a key or checksum wrong"},
	codeSession:   {remote.Locked, "the session is over; run megafs login again"},
	codeBlocked:   {remote.Permission, "the account or link is blocked"},
	codeOverQuota: {remote.Quota, "the account's quota is used up"},
	codeAway:      {remote.Unreachable, "temporarily away"},
	codeCrowded:   {remote.Unreachable, "too many connections"},
	codeGoingOver: {remote.Quota, "this would exceed the account's quota"},
	codeRolled:    {remote.Unreachable, "the server took the request back"},
	codeSecond:    {remote.Locked, "a code of the second factor is needed"},
	codeMaster:    {remote.Permission, "only the business account's owner may do that"},
	codePastDue:   {remote.ReadOnly, "the business account is past due"},
	codePaywall:   {remote.Quota, "the account is over its quota for too long, and read-only"},
}

// again reports whether the same request is worth a repetition.
func (c Code) again() bool {
	switch c {
	case codeAgain, codeRate, codeAway, codeCrowded:
		return true
	}
	return false
}

// CodeError is a refusal by the server.
type CodeError struct{ Code Code }

func (e *CodeError) Error() string {
	if c, ok := codes[e.Code]; ok {
		return fmt.Sprintf("%s (%d)", c.text, int(e.Code))
	}
	return fmt.Sprintf("the server refuses (%d)", int(e.Code))
}

// fail makes an error of a code.
func fail(op string, c Code) error {
	return remote.E(op, "", codes[c].kind, &CodeError{c})
}

// codeOf returns the code that an error comes from, 0 if from none.
func codeOf(err error) Code {
	var e *CodeError
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code
}

// isCode reports whether err comes from one of the codes.
func isCode(err error, cs ...Code) bool {
	var e *CodeError
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range cs {
		if e.Code == c {
			return true
		}
	}
	return false
}
