package megaserver

import (
	"errors"
	"fmt"
)

// Code is an error of the protocol: what a command's slot holds instead of a result.
type Code int

// The documented codes.
const (
	Internal     Code = -1
	BadArgs      Code = -2
	Again        Code = -3
	RateLimit    Code = -4
	Failed       Code = -5
	TooMany      Code = -6
	OutOfRange   Code = -7
	Expired      Code = -8
	NoEntry      Code = -9
	Circular     Code = -10
	NoAccess     Code = -11
	Exists       Code = -12
	Incomplete   Code = -13
	BadKey       Code = -14
	BadSession   Code = -15
	Blocked      Code = -16
	OverQuota    Code = -17
	TempUnavail  Code = -18
	TooManyConns Code = -19
	BadAppKey    Code = -22
	GoingOver    Code = -24
	RolledBack   Code = -25
	NeedsPin     Code = -26
	MasterOnly   Code = -27
	PastDue      Code = -28
	Paywall      Code = -29
	SubUserNoKey Code = -30
)

// Error makes a Code an error.
func (c Code) Error() string { return fmt.Sprintf("the protocol's error %d", int(c)) }

// codeOf says how a failure is told to the client: as the code that it is, else as "try again", since what is not one of the protocol's
// errors is trouble of this server's.
func codeOf(err error) Code {
	var c Code
	if errors.As(err, &c) {
		return c
	}
	return Again
}
