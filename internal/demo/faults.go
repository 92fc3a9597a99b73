package demo

// The errors that simulated agents meet. Telemetry carries the name of an error's type, so they have different ones.
type (
	// TimeoutError is an answer that did not come in time.
	TimeoutError string
	// RateLimitError is a refusal to be asked so often.
	RateLimitError string
	// UpstreamError is a failure of a service that was asked.
	UpstreamError string
	// PermissionError is a refusal that no retry changes.
	PermissionError string
	// ValidationError is an answer of the wrong form.
	ValidationError string
	// LimitError is the end of something that was there to be used up.
	LimitError string
	// InterruptedError ends the runs that are under way when the demo is stopped.
	InterruptedError string
)

func (e TimeoutError) Error() string     { return string(e) }
func (e RateLimitError) Error() string   { return string(e) }
func (e UpstreamError) Error() string    { return string(e) }
func (e PermissionError) Error() string  { return string(e) }
func (e ValidationError) Error() string  { return string(e) }
func (e LimitError) Error() string       { return string(e) }
func (e InterruptedError) Error() string { return string(e) }

// codeOf is the code of an error in Error messages and traces.
func codeOf(err error) string {
	switch err.(type) { //nolint:errorlint // these are never wrapped
	case TimeoutError:
		return "timeout"
	case RateLimitError:
		return "rate_limited"
	case UpstreamError:
		return "upstream_unavailable"
	case PermissionError:
		return "permission_denied"
	case ValidationError:
		return "invalid_output"
	case LimitError:
		return "limit_exceeded"
	case InterruptedError:
		return "interrupted"
	default:
		return "error"
	}
}
