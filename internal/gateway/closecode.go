package gateway

import "fmt"

// CloseCode is a WebSocket close code of this protocol. Codes from 4000 to 4499
// say: come back, with the cursor you have. Codes from 4500 on say: do not come
// back before something was changed.
type CloseCode struct {
	Code   uint16
	Reason string
	// Resume: the client should connect again, with backoff, and resume with
	// its cursor.
	Resume bool
}

func (c CloseCode) String() string { return fmt.Sprintf("%d %s", c.Code, c.Reason) }

// The codes that the gateway sends. docs/protocol.md lists them; a test
// compares.
var (
	closeNormal = CloseCode{1000, "closed by the client", false}
	// closeRestart: the gateway stops or restarts.
	closeRestart = CloseCode{4000, "restart", true}
	// closeSlow: the client's system took too little within the send timeout.
	closeSlow = CloseCode{4001, "slow consumer", true}
	// closeUnavailable: the stream cannot be read now.
	closeUnavailable = CloseCode{4002, "stream unavailable", true}
	// closeTimeout: the client answered no ping, or did not end a message that it
	// began.
	closeTimeout = CloseCode{4003, "client timeout", true}
	// closeInternal: a fault of the gateway, in this session alone.
	closeInternal = CloseCode{4004, "internal error", true}
	// closeBadFrame: a frame that is not of the protocol.
	closeBadFrame = CloseCode{4500, "bad frame", false}
	// closeTooLarge: a frame above the limit that hello told.
	closeTooLarge = CloseCode{4501, "frame too large", false}
	// closeTooMany: more frames a second than hello allows.
	closeTooMany = CloseCode{4502, "too many frames", false}
)

// CloseCodes lists the codes in ascending order, for docs and tests.
func CloseCodes() []CloseCode {
	return []CloseCode{
		closeNormal, closeRestart, closeSlow, closeUnavailable, closeTimeout, closeInternal, closeBadFrame, closeTooLarge, closeTooMany,
	}
}
