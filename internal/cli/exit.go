package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
)

// The exit codes of every command.
const (
	ExitOK      = 0 // done
	ExitFailure = 1 // failed for another reason than those below
	ExitUsage   = 2 // wrong flags, arguments or settings; nothing was done
	ExitBroker  = 3 // no connection to Kafka, or Kafka refused or could not serve it
	ExitNoData  = 4 // there is nothing: no such topic, no such run, no record
	ExitInUse   = 5 // another process has the address or the data directory
)

// codedError is an error that says its exit code.
type codedError struct {
	code int
	err  error
	try  string // a command that helps; may be empty
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// usageError is a mistake in flags or arguments; try is a command that helps.
func usageError(try, format string, args ...any) error {
	return &codedError{code: ExitUsage, err: fmt.Errorf(format, args...), try: try}
}

// badSettings is what settings.Load says; it joins one error for each that is wrong.
func badSettings(err error) error {
	if err == nil {
		return nil
	}
	return &codedError{code: ExitUsage, err: err, try: programName + " config"}
}

// noData says that there is nothing to show, which scripts must be able to tell from success.
func noData(format string, args ...any) error {
	return &codedError{code: ExitNoData, err: fmt.Errorf(format, args...)}
}

// noDataTry is noData with a command that helps.
func noDataTry(try, format string, args ...any) error {
	return &codedError{code: ExitNoData, err: fmt.Errorf(format, args...), try: try}
}

// exitCode is the code that err ends the program with.
func exitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	if coded, ok := errors.AsType[*codedError](err); ok {
		return coded.code
	}
	if len(settings.Errors(err)) > 0 {
		return ExitUsage
	}
	switch class := kafkaclient.Classify(err); class {
	case kafkaclient.ClassUnknownTopic:
		return ExitNoData
	case kafkaclient.ClassAuthorization, kafkaclient.ClassLeadership, kafkaclient.ClassUnavailable, kafkaclient.ClassThrottled,
		kafkaclient.ClassInvalid, kafkaclient.ClassUnsupported:
		return ExitBroker
	case kafkaclient.ClassTimeout:
		// A deadline that is not Kafka's is an ordinary failure.
		if _, explained := errors.AsType[*kafkaclient.Explained](err); explained {
			return ExitBroker
		}
		return ExitFailure
	default:
		if class.Unreachable() {
			return ExitBroker
		}
		return ExitFailure
	}
}

// interrupted reports an error that only says that somebody asked the command to end.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || kafkaclient.Classify(err) == kafkaclient.ClassCanceled)
}
